"""Colors changed by hand-worked numbers; tests/parity compares with Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.ops import color

# Luma 76, 150, 29, 255.
PIXELS = np.float32(
  [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]
)
_change_colors, _adjust, _shift_hue, _blur = map(
  jax.jit, (color.change, color.adjust, color.shift_hue, color.blur)
)


def _draws(**changes):
  draws = dict(
    is_jittered=False, order=np.arange(4), factors=np.ones(3, "f4"),
    hue=0.0, is_gray=False, sigma=0.0,
  ) | changes  # fmt: skip
  return color.Draws(**{k: jnp.asarray(v)[None] for k, v in draws.items()})


def _change(image, **changes):
  return np.asarray(_change_colors(image[None], _draws(**changes))[0])


def test_luma_is_rounded():
  np.testing.assert_array_equal(
    color.luma(PIXELS)[..., 0], [[76, 150], [29, 255]]
  )


@pytest.mark.parametrize(
  "kind,factor,expected",
  [
    # 0.3 * 255 = 76.5 is cut off, not rounded.
    (color.BRIGHTNESS, 0.3, [76, 0, 0]),
    # The mean luma is 127.5, rounded to 128: 128 + 0.5 * 127, 128 - 64.
    (color.CONTRAST, 0.5, [191, 64, 64]),
    # 76 + 1.5 * 179 is clipped; 76 - 1.5 * 76 too.
    (color.SATURATION, 1.5, [255, 0, 0]),
    (color.SATURATION, 0.5, [165, 38, 38]),
  ],
)
def test_blends(kind, factor, expected):
  changed = _adjust(PIXELS, kind, factor)
  np.testing.assert_array_equal(changed[0, 0], expected)


def test_hue_turns_and_grays_stay():
  # A third of a turn, 85 of 256 steps: red becomes green.
  turned = _shift_hue(PIXELS, jnp.float32(1 / 3 + 1e-4))
  np.testing.assert_array_equal(turned[0, 0], [0, 255, 0])
  np.testing.assert_array_equal(turned[1, 1], [255, 255, 255])
  # Cut off, not floored: -0.5 / 255 of a turn is none.
  turned = _shift_hue(PIXELS, jnp.float32(-0.5 / 255))
  np.testing.assert_array_equal(turned, PIXELS)


def test_operations_follow_one_another_in_the_order_drawn():
  image = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype("f4")
  factors, hue = np.float32([0.7, 1.4, 0.6]), np.float32(0.2)
  for order in ([0, 1, 2, 3], [3, 2, 0, 1], [1, 3, 0, 2]):
    expected = image
    for kind in order:
      expected = (
        _shift_hue(expected, hue)
        if kind == color.HUE
        else _adjust(expected, kind, factors[kind])
      )
    changed = _change(
      image, is_jittered=True, order=order, factors=factors, hue=hue
    )
    np.testing.assert_array_equal(changed, expected)


def test_blur_keeps_a_flat_image_and_spreads_a_point():
  flat = np.full((6, 7, 3), 91, "f4")
  np.testing.assert_array_equal(_blur(flat, jnp.float32(2.0)), flat)
  point = np.zeros((9, 9, 3), "f4")
  point[4, 4] = 255
  blurred = np.asarray(_blur(point, jnp.float32(1.0)))[..., 0]
  np.testing.assert_array_equal(blurred, blurred[::-1])
  np.testing.assert_array_equal(blurred, blurred[:, ::-1])
  row = blurred[4] / blurred[4].sum()
  assert abs(np.sum(row * (np.arange(9) - 4) ** 2) - 1) < 0.1


def test_nothing_drawn_changes_nothing():
  np.testing.assert_array_equal(_change(PIXELS), PIXELS)
  gray = _change(PIXELS, is_gray=True)
  np.testing.assert_array_equal(gray, np.repeat(color.luma(PIXELS), 3, -1))
