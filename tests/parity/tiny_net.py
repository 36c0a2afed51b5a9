"""The two-layer network of the recorded evaluations."""

import jax

from u2pl_jax.models import forward
from u2pl_jax.ops import resize


def create(arrays: dict) -> forward.Net:
  """Conv 3x3 (strided, padding 1), ReLU, conv 1x1, resized to the input."""
  weights = {
    name: arrays[f"net/{name}.weight"].transpose(2, 3, 1, 0)
    for name in ("c1", "c2")
  }
  stride = int(arrays["net/stride"])

  def conv(x, name, stride, padding):
    y = jax.lax.conv_general_dilated(
      x,
      weights[name],
      (stride, stride),
      [(padding, padding)] * 2,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y + arrays[f"net/{name}.bias"]

  def net(images):
    hidden = jax.nn.relu(conv(images, "c1", stride, 1))
    return resize.resize_bilinear(conv(hidden, "c2", 1, 0), images.shape[1:3])

  return net


def cases(arrays: dict, prefix: str) -> list[dict]:
  """The arrays of `prefix`0, `prefix`1, ... by what follows the slash."""
  found = {}
  for name, array in arrays.items():
    case, _, field = name.partition("/")
    if field and case.removeprefix(prefix).isdigit():
      found.setdefault(case, {})[field] = array
  return list(found.values())
