"""Network and weights of the recorded reference runs in `tests/golden/`.

The files hold no weights: each entry of the reference's state dict was drawn
from a generator seeded by its name, which `make_entry` repeats.
"""

import json
import pathlib
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.models import deeplab, torch_import

GOLDEN_DIR = pathlib.Path(__file__).parent / "golden"


def make_entry(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
  """Returns the float32 array of one state-dict entry.

  Args:
    name: PyTorch name without a "module." prefix.
    shape: PyTorch shape.
    salt: put in front of the name to get other weights.
  """
  kind = name.split(".")[-1]
  if kind == "num_batches_tracked":
    return np.zeros(shape, np.float32)
  generator = np.random.default_rng(zlib.crc32(f"{salt}{name}".encode()))
  if kind == "running_var":
    return np.float32(1 + 0.2 * generator.random(shape))
  normal = generator.standard_normal(shape)
  if kind in ("bias", "running_mean"):
    return np.float32(0.1 * normal)
  if len(shape) > 1:  # He-normal conv
    return np.float32(normal * np.sqrt(2 / np.prod(shape[1:])))
  scale = 1 + 0.1 * normal
  # The last BatchNorm of a residual branch is kept small.
  is_last = re.search(r"layer\d+\.\d+\.bn3\.weight$", name)
  return np.float32(scale * 0.2 if is_last else scale)


def build(config: dict) -> tuple[deeplab.DeepLabV3Plus, dict]:
  """Returns the network and variables that a file's `config_json` describes."""
  output_stride = 32 // 2 ** sum(config["replace_stride_with_dilation"])
  model = deeplab.create_model(
    num_classes=config["num_classes"],
    encoder=f"resnet{config['depth']}",
    stem=config["stem"],
    output_stride=output_stride,
    multi_grid=config["multi_grid"],
    rep_channels=256 if config["rep_head"] else 0,
    aux_head=config["aux_head"],
    aspp_rates=config["aspp_rates"],
  )
  shapes = variable_shapes(model)
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  state_dict = {
    name: make_entry(name, value.shape, config["salt"])
    for name, value in torch_import.to_torch(zeros).items()
  }
  return model, torch_import.from_torch(state_dict, shapes)


def variable_shapes(model: deeplab.DeepLabV3Plus) -> dict:
  """Shapes and dtypes of a network's variables, without computing any."""
  return jax.eval_shape(
    lambda key: model.init(
      key, jnp.zeros((1, 33, 33, 3)), train=False, dropout=False
    ),
    jax.random.key(0),
  )


def load(name: str) -> tuple[dict[str, np.ndarray], dict]:
  """Reads a file of `tests/golden/`; returns its arrays and `config_json`."""
  with np.load(GOLDEN_DIR / name) as file:
    arrays = dict(file)
  return arrays, json.loads(str(arrays.pop("config_json", "{}")))


def to_nhwc(x: np.ndarray) -> np.ndarray:
  """[B, C, h, w] -> [B, h, w, C]."""
  return x.transpose(0, 2, 3, 1)
