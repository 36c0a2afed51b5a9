"""Colors of photographs changed as Pillow and torchvision change them.

All functions take and return levels: float32 that holds whole numbers in
0..255. Pillow rounds to 8 bits after every operation; so do these, which
makes them equal to it but for a level here and there.

Reference: torchvision's ColorJitter and Pillow's ImageEnhance, `ImagingConvert`
and `ImagingGaussianBlur`, as UniMatch uses them.
"""

import flax.struct
import jax
import jax.numpy as jnp

# Of the operations in `Draws.order`.
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_NUM_BLENDS = 3
# Fixed point with 16 bits behind the point, which add up to 1.
_LUMA = (19595, 38470, 7471)
# Box blurs along each axis, which come close to a Gaussian.
_PASSES = 3
# Taps on either side of a pixel that a blur of `MAX_SIGMA` reaches.
_TAPS = 2
# Beyond it a box would be longer: 2 + 1 pixels on each side.
MAX_SIGMA = 2.0


@flax.struct.dataclass
class Draws:
  """How the colors of B images change.

  Attributes:
    is_jittered: [B] bool, whether the four operations happen.
    order: [B, 4] int32, permutations of `BRIGHTNESS`, ..., `HUE`.
    factors: [B, 3] float32 >= 0, of the first three.
    hue: [B] float32 in [-0.5, 0.5], shift of the hue in turns.
    is_gray: [B] bool.
    sigma: [B] float32 in [0, 2], deviation of the blur, pixels; 0 for none.
  """

  is_jittered: jax.Array
  order: jax.Array
  factors: jax.Array
  hue: jax.Array
  is_gray: jax.Array
  sigma: jax.Array


def luma(image: jax.Array) -> jax.Array:
  """Brightness [..., 1] of levels [..., 3], rounded."""
  weighted = sum(
    weight * image[..., channel].astype(jnp.int32)
    for channel, weight in enumerate(_LUMA)
  )
  return ((weighted + 32768) >> 16).astype(jnp.float32)[..., None]


def blend(ground: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
  """ground + factor (image - ground), clipped and cut off, not rounded."""
  return jnp.floor(jnp.clip(ground + factor * (image - ground), 0, 255))


def adjust(image: jax.Array, kind: jax.Array, factor: jax.Array) -> jax.Array:
  """Changes brightness, contrast or saturation.

  Args:
    image: levels [H, W, 3].
    kind: [] int32, `BRIGHTNESS`, `CONTRAST` or `SATURATION`: which of black,
      the rounded mean brightness, and the brightness of each pixel the image
      is blended with.
    factor: [] float32, 1 for the image as it is.
  """
  gray = luma(image)
  count = gray.size
  total = jnp.sum(gray, dtype=jnp.int32)
  mean = ((2 * total + count) // (2 * count)).astype(jnp.float32)
  ground = jnp.where(kind == SATURATION, gray, mean)
  return blend(jnp.where(kind == BRIGHTNESS, 0.0, ground), image, factor)


def shift_hue(image: jax.Array, shift: jax.Array) -> jax.Array:
  """Turns the hue of levels [..., 3] by `shift` [], in turns, in 8-bit HSV."""
  hue, saturation, value = _to_hsv(image)
  # The cut-off shift wraps around as uint8 does.
  hue = jnp.mod(hue + jnp.trunc(shift * 255), 256)
  return _to_rgb(hue, saturation, value)


def _to_hsv(image: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  red, green, blue = (image[..., channel] for channel in range(3))
  high, low = jnp.max(image, axis=-1), jnp.min(image, axis=-1)
  spread = high - low
  is_gray = spread == 0
  divisor = jnp.where(is_gray, 1.0, spread)
  from_red, from_green, from_blue = (
    (high - channel) / divisor for channel in (red, green, blue)
  )
  sixths = jnp.where(
    red == high,
    from_blue - from_green,
    jnp.where(
      green == high, 2.0 + from_red - from_blue, 4.0 + from_green - from_red
    ),
  )
  turns = jnp.mod(sixths / 6.0 + 1.0, 1.0)
  saturation = spread / jnp.maximum(high, 1.0)
  hue, saturation = (
    jnp.where(is_gray, 0.0, jnp.floor(x * 255)) for x in (turns, saturation)
  )
  return hue, saturation, high


def _to_rgb(
  hue: jax.Array, saturation: jax.Array, value: jax.Array
) -> jax.Array:
  sixths = hue * 6.0 / 255.0
  sector = jnp.floor(sixths)
  rest, saturation = sixths - sector, saturation / 255.0
  low, falling, rising = (
    jnp.floor(value * (1.0 - saturation * share) + 0.5)
    for share in (1.0, rest, 1.0 - rest)
  )
  # Red, green and blue of each sixth of the circle.
  sectors = (
    (value, rising, low),
    (falling, value, low),
    (low, value, rising),
    (low, falling, value),
    (rising, low, value),
    (value, low, falling),
  )
  sector = jnp.mod(sector, 6)
  channels = [
    jnp.select([sector == s for s in range(6)], [c[i] for c in sectors])
    for i in range(3)
  ]
  return jnp.stack(channels, axis=-1)


def blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
  """Blurs levels [H, W, 3] by three box blurs along each axis.

  A box has a real half-width r: ones on 2 floor(r) + 1 pixels and, on the two
  beside them, what is left of 2r + 1; edges are repeated.

  Args:
    image: levels [H, W, 3].
    sigma: [] float32 in [0, `MAX_SIGMA`], pixels.
  """
  variance = sigma**2
  whole = jnp.floor((jnp.sqrt(4 * variance + 1) - 1) / 2)
  radius = whole + (2 * whole + 1) * (whole * (whole + 1) - variance) / (
    6 * (variance / 3 - (whole + 1) ** 2)
  )
  reach = jnp.floor(radius)
  inner = 1 / (2 * radius + 1)
  outer = (1 - (2 * reach + 1) * inner) / 2
  distance = jnp.abs(jnp.arange(-_TAPS, _TAPS + 1))
  weights = jnp.where(
    distance <= reach, inner, jnp.where(distance == reach + 1, outer, 0.0)
  )
  for axis in (1, 0):
    image = jax.lax.fori_loop(
      0, _PASSES, lambda _, x, axis=axis: _average(x, weights, axis), image
    )
  return image


def _average(image: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
  padding = [(0, 0)] * image.ndim
  padding[axis] = (_TAPS, _TAPS)
  padded = jnp.pad(image, padding, mode="edge")
  size = image.shape[axis]
  total = sum(
    weight * jax.lax.slice_in_dim(padded, place, place + size, axis=axis)
    for place, weight in enumerate(weights)
  )
  return jnp.floor(total + 0.5)


def jitter(
  image: jax.Array, order: jax.Array, factors: jax.Array, shift: jax.Array
) -> jax.Array:
  """Brightness, contrast, saturation and hue of levels [H, W, 3], in order.

  Args:
    image: levels [H, W, 3].
    order: [4] int32, see `Draws`.
    factors: [3] float32, of the first three operations.
    shift: [] float32, of the hue.
  """
  # The hue turns once. Of the others each may come before it or after, so
  # that the costly conversion need not be made for every place in the order.
  hue_place = jnp.argmax(order == HUE)
  blends = jnp.delete(order, hue_place, assume_unique_indices=True)

  def run(image, is_due):
    def one(place, image):
      kind = blends[place]
      adjusted = adjust(image, kind, factors[kind])
      return jnp.where(is_due(place), adjusted, image)

    return jax.lax.fori_loop(0, _NUM_BLENDS, one, image)

  image = run(image, lambda place: place < hue_place)
  image = shift_hue(image, shift)
  return run(image, lambda place: place >= hue_place)


def change(images: jax.Array, draws: Draws) -> jax.Array:
  """Images with other colors: jittered, then gray, then blurred, as drawn.

  Args:
    images: uint8 or levels [B, H, W, 3].
    draws: of these B images.

  Returns:
    Levels, float32 [B, H, W, 3].
  """

  def one(image, draws):
    jittered = jitter(image, draws.order, draws.factors, draws.hue)
    image = jnp.where(draws.is_jittered, jittered, image)
    image = jnp.where(draws.is_gray, luma(image), image)
    blurred = blur(image, draws.sigma)
    return jnp.where(draws.sigma > 0, blurred, image)

  return jax.vmap(one)(images.astype(jnp.float32), draws)
