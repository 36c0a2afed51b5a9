"""Weights and inputs of the recordings of vision transformers.

The files hold no weights: each entry was drawn from a generator seeded by its
name within the recorded module, which `make_entry` repeats.
"""

import re
import zlib
from collections.abc import Mapping

import jax
import numpy as np

from u2pl_jax.models import torch_names
from u2pl_jax.models.vit import transformer

_TOKENS = ("cls_token", "register_tokens", "mask_token", "pos_embed")
# Kept small, for the sums of residuals.
_FACTORS = {
  r"(.*\.)?resConfUnit[12]\.conv2\.weight": 0.3,
  r"(.*\.)?output_conv\.2\.weight": 0.25,
}


def _generator(name: str, salt: str) -> np.random.Generator:
  return np.random.default_rng(zlib.crc32(f"{salt}{name}".encode()))


def make_entry(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
  """Returns the float32 array of one state-dict entry.

  Args:
    name: PyTorch name within the recorded module.
    shape: PyTorch shape.
    salt: put in front of the name to get other weights.
  """
  normal = _generator(name, salt).standard_normal(shape)
  kind = name.split(".")[-1]
  if kind in _TOKENS:
    return np.float32(0.5 * normal)
  if kind == "gamma":
    return np.float32(0.5 + 0.2 * normal)
  if kind == "bias":
    return np.float32(0.1 * normal)
  if len(shape) == 1:
    return np.float32(1 + 0.1 * normal)
  is_transposed = re.search(r"resize_layers\.[01]\.weight$", name)
  fan_in = shape[0] if is_transposed else np.prod(shape[1:])
  result = normal * np.sqrt(2 / fan_in)
  for pattern, factor in _FACTORS.items():
    if re.fullmatch(pattern, name):
      result = result * factor
  return np.float32(result)


def make_image(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
  """Standard normal float32 array, as `config_json` names and shapes it."""
  normal = _generator(f"image:{name}", salt).standard_normal(shape)
  return np.float32(normal)


def fill(
  shapes: dict, prefixes: Mapping[str, str], salt: str = ""
) -> dict[str, dict]:
  """Variables of the recorded weights.

  Args:
    shapes: {"params": {PART: ...}} of what the recorded module holds.
    prefixes: before the names in the recorded module, instead of "PART.".
    salt: see `make_entry`.
  """
  targets = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.int8), shapes)
  entries = {}
  for name, value in torch_names.to_torch(targets).items():
    part, _, rest = name.partition(".")
    entries[name] = make_entry(prefixes[part] + rest, value.shape, salt)
  return torch_names.from_torch(entries, shapes)


def make_encoder(config: Mapping) -> transformer.Transformer:
  """The encoder that the constructor's arguments of a recording describe."""
  if config.get("interpolate_antialias"):
    resizing = "antialiased"
  else:
    resizing = "offset" if config.get("interpolate_offset", 0.1) else "plain"
  bias = {config.get(f"{name}_bias", True) for name in ("qkv", "proj", "ffn")}
  (use_bias,) = bias
  depth = config["depth"]
  assert config["patch_size"] == transformer.PATCH
  assert config["mlp_ratio"] == 4
  return transformer.Transformer(
    width=config["embed_dim"],
    depth=depth,
    num_heads=config["num_heads"],
    taken=tuple(range(depth)),
    grid=config["img_size"] // transformer.PATCH,
    feed_forward=(
      "swiglu" if config.get("ffn_layer", "mlp").startswith("swiglu") else "mlp"
    ),
    num_registers=config.get("num_register_tokens", 0),
    resizing=resizing,
    use_bias=use_bias,
    layer_scale=bool(config["init_values"]),
  )
