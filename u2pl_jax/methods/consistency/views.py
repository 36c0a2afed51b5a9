"""Strong views of unlabeled images, and the boxes that mix them."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax.methods import method
from u2pl_jax.ops import boxes, color
from u2pl_jax.runtime import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewOptions(options.Options):
  """Settings of strong views: colors, blur, and CutMix."""

  SECTION: ClassVar[str] = "views"

  # That brightness, contrast, saturation and hue change, in random order.
  jitter_prob: float = options.setting(0.8, minimum=0, maximum=1)
  # The factor on the brightness is this far from 1 at most.
  brightness: float = options.setting(0.5, minimum=0, maximum=1)
  # The same of the contrast.
  contrast: float = options.setting(0.5, minimum=0, maximum=1)
  # The same of the saturation.
  saturation: float = options.setting(0.5, minimum=0, maximum=1)
  # The hue turns so far at most, of a full turn.
  hue: float = options.setting(0.25, minimum=0, maximum=0.5)
  # That a view is gray.
  gray_prob: float = options.setting(0.2, minimum=0, maximum=1)
  # That a view is blurred.
  blur_prob: float = options.setting(0.5, minimum=0, maximum=1)
  # Deviations of the blur, pixels.
  blur_sigma: tuple[float, float] = options.setting(
    (0.1, 2.0), length=2, above=0, maximum=color.MAX_SIGMA
  )
  # That an image has a box of its partner.
  box_prob: float = options.setting(0.5, minimum=0, maximum=1)
  # Shares of the image's area.
  box_area: tuple[float, float] = options.setting(
    (0.02, 0.4), length=2, above=0, maximum=0.9
  )
  # Height / width and its inverse are this at most.
  box_ratio: float = options.setting(1 / 0.3, minimum=1.001, maximum=10)

  def check(self):
    for name in ("blur_sigma", "box_area"):
      low, high = getattr(self, name)
      if low > high:
        raise ValueError(
          f"{self.key(name)}={low, high}: the first must not be the larger one"
        )


def draw_colors(
  key: jax.Array, count: int, options: ViewOptions
) -> color.Draws:
  """How the colors of some images change.

  Args:
    key: PRNG key.
    count: B.
    options: settings.
  """
  keys = jax.random.split(key, 7)
  reach = jnp.array([options.brightness, options.contrast, options.saturation])
  sides = jax.random.uniform(keys[2], (count, 3), minval=-1.0, maxval=1.0)
  is_blurred = jax.random.bernoulli(keys[5], options.blur_prob, (count,))
  low, high = options.blur_sigma
  sigma = jax.random.uniform(keys[6], (count,), minval=low, maxval=high)
  orders = jnp.tile(jnp.arange(4), (count, 1))
  return color.Draws(
    is_jittered=jax.random.bernoulli(keys[0], options.jitter_prob, (count,)),
    order=jax.random.permutation(keys[1], orders, axis=1, independent=True),
    factors=1 + sides * reach,
    hue=jax.random.uniform(
      keys[3], (count,), minval=-options.hue, maxval=options.hue
    ),
    is_gray=jax.random.bernoulli(keys[4], options.gray_prob, (count,)),
    sigma=jnp.where(is_blurred, sigma, 0.0),
  )


def strong_views(
  key: jax.Array, images: jax.Array, count: int, options: ViewOptions
) -> jax.Array:
  """Strong views of the same images, drawn independently.

  Args:
    key: PRNG key.
    images: uint8 [..., B, H, W, 3], weak views.
    count: of views.
    options: settings.

  Returns:
    Levels, float32 [count, ..., B, H, W, 3].
  """
  lead, batch = images.shape[:-4], images.shape[-4]
  draws = draw_colors(key, count * math.prod(lead) * batch, options)
  draws = jax.tree.map(
    lambda x: x.reshape(count, *lead, batch, *x.shape[1:]), draws
  )
  # Mapped over, not one behind the other: images stay on their devices.
  change = color.change
  for _ in lead:
    change = jax.vmap(change)
  return jax.vmap(change, in_axes=(None, 0))(images, draws)


def draw_boxes(
  key: jax.Array,
  num_images: int,
  size: tuple[int, int],
  count: int,
  options: ViewOptions,
) -> tuple[jax.Array, ...]:
  """Boxes of each view, drawn independently: `count` of int32 [B, 4].

  Args:
    key: PRNG key.
    num_images: B.
    size: (height, width) of the images.
    count: of views.
    options: settings.
  """
  return tuple(
    boxes.draw(
      each,
      num_images,
      size,
      probability=options.box_prob,
      area=options.box_area,
      max_ratio=options.box_ratio,
    )
    for each in jax.random.split(key, count)
  )


@flax.struct.dataclass
class Draws:
  """Everything random of a step; one member of a tuple for each strong view.

  Attributes:
    strong: levels, float32 [B_u, H, W, 3] in 0..255, before they are mixed.
    partners: the same of the second images; None where there are none.
    boxes: int32 [B_u, 4], see `ops.boxes`.
    scales: of each feature [B, C] or None, see `models.network`; None for no
      dropout of features.
  """

  strong: tuple[jax.Array, ...]
  partners: tuple[jax.Array, ...] | None
  boxes: tuple[jax.Array, ...]
  scales: tuple[jax.Array | None, ...] | None


# (batch, keys of the step) -> draws.
Draw = Callable[[method.Batch, Mapping[str, jax.Array]], Draws]
# (key) -> scales of features.
DrawScales = Callable[[jax.Array], tuple[jax.Array | None, ...]]


def make_draw(
  options: ViewOptions, count: int, draw_scales: DrawScales | None
) -> Draw:
  """Draws what a step needs, from its keys.

  Args:
    options: settings.
    count: of strong views.
    draw_scales: of features; None for no dropout of features.
  """

  def draw(batch, keys):
    view, box, scale = jax.random.split(keys["augment"], 3)
    names = [name for name in ("image_u", "image_u2") if name in batch]
    images = jnp.stack([batch[name] for name in names])
    strong = strong_views(view, images, count, options)
    images = batch["image_u"]
    return Draws(
      strong=tuple(strong[:, 0]),
      partners=tuple(strong[:, 1]) if len(names) == 2 else None,
      boxes=draw_boxes(box, len(images), images.shape[1:3], count, options),
      scales=draw_scales(scale) if draw_scales else None,
    )

  return draw
