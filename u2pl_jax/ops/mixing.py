"""Augmentation on the device: cutout, cutmix, classmix.

The partner of image i is image i + 1, the last one's the first.
"""

import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL

MODES = ("none", "cutout", "cutmix", "classmix")


def keep_outside_box(key: jax.Array, height: int, width: int) -> jax.Array:
  """[H, W] bool, false in a random box of half the area.

  The box's width is uniform over the integers in (W/2, W), its height the
  rounded area / width, its place uniform.

  Reference: `u2pl/dataset/augs_ALIA.py` (generate_cutout_mask).
  """
  key_width, key_top, key_left = jax.random.split(key, 3)
  box_width = jax.random.randint(key_width, (), width // 2 + 1, width)
  box_height = jnp.round(height * width / 2 / box_width).astype(jnp.int32)
  top = jax.random.randint(key_top, (), 0, height - box_height + 1)
  left = jax.random.randint(key_left, (), 0, width - box_width + 1)
  rows, columns = jnp.arange(height), jnp.arange(width)
  in_rows = (rows >= top) & (rows < top + box_height)
  in_columns = (columns >= left) & (columns < left + box_width)
  return ~(in_rows[:, None] & in_columns[None, :])


def keep_half_the_classes(
  key: jax.Array, labels: jax.Array, num_classes: int
) -> jax.Array:
  """[H, W] bool, true on the pixels of half (floor) of the classes present.

  Args:
    key: PRNG key.
    labels: [H, W] int32 in [0, K) or 255, which is never kept.
    num_classes: K.

  Reference: `u2pl/dataset/augs_ALIA.py` (generate_class_mask).
  """
  classes = jnp.arange(num_classes)
  present = jnp.zeros(num_classes, bool).at[labels].set(True, mode="drop")
  order = jnp.where(present, jax.random.permutation(key, classes), num_classes)
  place = jnp.sum(order[:, None] > order[None, :], axis=1)
  kept = present & (place < jnp.sum(present) // 2)
  return jnp.take(kept, labels, mode="fill", fill_value=False)


def _masks(
  key: jax.Array, labels: jax.Array, mode: str, num_classes: int
) -> jax.Array:
  """[B, H, W] bool, true where an image keeps its own pixels."""
  batch, height, width = labels.shape
  keys = jax.random.split(key, batch)
  if mode == "classmix":
    pick = jax.vmap(keep_half_the_classes, in_axes=(0, 0, None))
    return pick(keys, labels, num_classes)
  return jax.vmap(lambda k: keep_outside_box(k, height, width))(keys)


def mix(keep: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, ...]:
  """Fills what an image does not keep from its partner (cutmix, classmix).

  Args:
    keep: [B, H, W] bool.
    *arrays: [B, H, W, ...], such as images and labels.

  Returns:
    The arrays, mixed.
  """

  def blend(own):
    mask = keep.reshape(keep.shape + (1,) * (own.ndim - keep.ndim))
    return jnp.where(mask, own, jnp.roll(own, -1, axis=0))

  return tuple(map(blend, arrays))


def cut(
  keep: jax.Array, images: jax.Array, labels: jax.Array, *others: jax.Array
) -> tuple[jax.Array, ...]:
  """Blanks what is not kept: images 0, labels 255, anything else 0 (cutout).

  Args:
    keep: [B, H, W] bool.
    images: [B, H, W, 3], of which 0 is the mean color.
    labels: [B, H, W].
    *others: [B, H, W].

  Returns:
    The arrays, cut.
  """
  return (
    jnp.where(keep[..., None], images, 0),
    jnp.where(keep, labels, IGNORE_LABEL),
    *(jnp.where(keep, other, 0) for other in others),
  )


def follow(keep: jax.Array, labels: jax.Array, mode: str) -> jax.Array:
  """Other labels of the same images, changed as `strong_augment` changes them.

  Args:
    keep: [B, H, W] bool, that it returned.
    labels: [B, H, W] int32.
    mode: that it was given.

  Returns:
    [B, H, W] int32; 255 where images were blanked.
  """
  if mode == "cutout":
    return jnp.where(keep, labels, IGNORE_LABEL)
  return mix(keep, labels)[0]


def strong_augment(
  key: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  *,
  mode: str,
  probability: float,
  num_classes: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """With some probability, for the whole batch at once, one of the mixes.

  Args:
    key: PRNG key.
    images: [B, H, W, 3] float32, normalized.
    labels: [B, H, W] int32, pseudo-labels.
    mode: one of `MODES`.
    probability: that the batch is augmented at all.
    num_classes: K.

  Returns:
    Images and labels, of the same shapes, and [B, H, W] bool, true where an
    image kept its own pixels.

  Raises:
    ValueError: `mode` is unknown.

  Reference: `u2pl/dataset/augs_ALIA.py` (generate_unsup_data).
  """
  if mode not in MODES:
    raise ValueError(f"augment.mode={mode!r}: expected one of {MODES}")
  if mode == "none":
    return images, labels, jnp.ones(labels.shape, bool)
  key_apply, key_mask = jax.random.split(key)
  keep = _masks(key_mask, labels, mode, num_classes)
  keep |= ~jax.random.bernoulli(key_apply, probability)
  apply = cut if mode == "cutout" else mix
  return *apply(keep, images, labels), keep
