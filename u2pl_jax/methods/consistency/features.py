"""Scales that drop channels of features, and double those that are kept."""

import jax
import jax.numpy as jnp

from u2pl_jax.methods import method
from u2pl_jax.methods.consistency import views
from u2pl_jax.ops import interleave

Widths = tuple[int | None, ...]


def widths_of(parts: method.Parts, key: str) -> Widths:
  """The channels of each feature that the decoder reads, else None.

  Args:
    parts: of the run.
    key: of the setting that asks for them, with its value.

  Raises:
    ValueError: the decoder reads none whose channels could be dropped.
  """
  widths = parts.model.feature_widths()
  if not any(widths):
    raise ValueError(
      f"{key}: this encoder has no features whose channels could be dropped"
      " before the decoder; choose another, or set it to 0"
    )
  return widths


def make_perturbation(parts: method.Parts, widths: Widths) -> views.DrawScales:
  """Draws 0 or 2, each as likely, for each image, feature and channel.

  Args:
    parts: of the run.
    widths: of the features.

  Returns:
    (key) -> [B_l + B_u, C] float32 of each feature.

  Reference: UniMatch, model/semseg/deeplabv3plus.py (nn.Dropout2d(0.5)).
  """
  steps = parts.accumulate_steps
  count = (parts.batch_size_l + parts.batch_size_u) // steps

  def draw(key):
    keys = jax.random.split(key, len(widths))
    return tuple(
      None if width is None else _zero_or_two(each, (count, width))
      for each, width in zip(keys, widths, strict=True)
    )

  return draw


def make_complementary(
  parts: method.Parts, widths: Widths, *, untouched: float, groups: int
) -> views.DrawScales:
  """Draws scales of two strong views, each channel kept in one of them.

  Features of equal width share the scales, as those of a transformer; others
  have their own.

  Args:
    parts: of the run.
    widths: of the features.
    untouched: share of the images of a group, rounded down, that keep all.
    groups: of the batch.

  Returns:
    (key) -> [2 B_u, C] float32 of each feature, in the order of
    `interleave.join`.
  """
  count = parts.batch_size_u // parts.accumulate_steps

  def draw(key):
    key_images, key_channels = jax.random.split(key)
    members = count // groups
    places = jax.random.permutation(
      key_images,
      jnp.tile(jnp.arange(members), (groups, 1)),
      axis=1,
      independent=True,
    )
    is_untouched = (places < int(untouched * members)).reshape(-1)
    drawn = {}
    for width in filter(None, dict.fromkeys(widths)):
      binary = jax.random.bernoulli(
        jax.random.fold_in(key_channels, width), 0.5, (count, width)
      )
      drawn[width] = interleave.join(*complementary(binary, is_untouched))
    return tuple(drawn.get(width) for width in widths)

  return draw


def complementary(
  kept: jax.Array, is_untouched: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Scales of the two views of each image.

  Args:
    kept: [n, C] bool, channels doubled in the first view; the second one has
      the others.
    is_untouched: [n] bool, images of which nothing is dropped or doubled.

  Returns:
    Two of [n, C] float32, 0, 1 or 2, which add up to 2.

  Reference: UniMatch-V2, model/semseg/dpt.py (forward).
  """
  first = jnp.where(is_untouched[:, None], 1.0, 2.0 * kept)
  return first, 2.0 - first


def _zero_or_two(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
  return 2.0 * jax.random.bernoulli(key, 0.5, shape)
