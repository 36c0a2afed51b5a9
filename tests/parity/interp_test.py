"""Resizing gives PyTorch's values and picks PyTorch's pixels."""

import jax
import numpy as np

from tests.parity import golden
from u2pl_jax.ops import resize

_bilinear = jax.jit(
  resize.resize_bilinear, static_argnums=1, static_argnames="align_corners"
)
_nearest = jax.jit(resize.resize_nearest, static_argnums=1)


def _cases(arrays, prefix):
  """Names PREFIX/SIZES of the recorded inputs, at least one."""
  names = [n.removesuffix("/in") for n in arrays if n.endswith("/in")]
  names = [n for n in names if n.startswith(prefix)]
  assert names
  return names


def _sizes(name):
  return tuple(map(int, name.rpartition("/")[2].split("_to_")))


@golden.every_file("interp")
def test_bilinear(path):
  """Within 1e-5, with and without aligned corners."""
  arrays = golden.load(path)
  for kind in ("bilinear_ac", "bilinear_noac"):
    names = _cases(arrays, f"{kind}/")
    assert sorted(names) == sorted(arrays[f"{kind}_keys"])
    for name in names:
      expected = golden.channels_last(arrays[f"{name}/out"])
      actual = _bilinear(
        golden.channels_last(arrays[f"{name}/in"]),
        expected.shape[1:3],
        align_corners=kind == "bilinear_ac",
      )
      np.testing.assert_allclose(
        actual, expected, rtol=0, atol=1e-5, err_msg=name
      )


@golden.every_file("interp")
def test_nearest_picks_the_same_pixels(path):
  arrays = golden.load(path)
  names = [name for name in arrays if name.startswith("nearest_index/")]
  pairs = [_sizes(name) for name in names]
  assert pairs and sorted(pairs) == sorted(map(tuple, arrays["nearest_pairs"]))
  for name, (in_size, out_size) in zip(names, pairs, strict=True):
    column = np.arange(in_size, dtype=np.int32)[None, :, None]
    actual = _nearest(column, (out_size, 1))[0, :, 0]
    np.testing.assert_array_equal(actual, arrays[name], err_msg=name)
    row = column.transpose(0, 2, 1)
    actual = _nearest(row, (1, out_size))[0, 0]
    np.testing.assert_array_equal(actual, arrays[name], err_msg=name)


@golden.every_file("interp")
def test_nearest_of_masks(path):
  arrays = golden.load(path)
  for name in _cases(arrays, "nearest_mask/"):
    mask = golden.channels_last(arrays[f"{name}/in"])
    expected = golden.channels_last(arrays[f"{name}/out"])
    actual = _nearest(mask, expected.shape[1:3])
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected, err_msg=name)
    without_channels = _nearest(mask[..., 0], expected.shape[1:3])
    np.testing.assert_array_equal(without_channels, expected[..., 0])
