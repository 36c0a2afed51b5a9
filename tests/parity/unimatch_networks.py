"""The tiny networks under the published forward passes of UniMatch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from u2pl_jax.models import layers, network
from u2pl_jax.ops import resize

_LEAVES = {
  ("params", "kernel"): "weight",
  ("params", "scale"): "weight",
  ("params", "bias"): "bias",
  ("batch_stats", "mean"): "running_mean",
  ("batch_stats", "var"): "running_var",
}


def _conv(channels, side, x, name, **options):
  return layers.conv(
    channels,
    side,
    init=layers.uniform_fan_in(1),
    dtype=jnp.float32,
    name=name,
    **options,
  )(x)


def _block(channels, side, x, name, train, **options):
  """conv-BN-ReLU, which PyTorch calls NAME.0 and NAME.1."""
  x = _conv(channels, side, x, f"{name}.0", **options)
  return nn.relu(layers.BatchNorm(name=f"{name}.1")(x, train=train))


class Encoder1(nn.Module):
  """Two strided blocks: features c1 and c4."""

  strides = (2, 4)

  @nn.compact
  def __call__(self, images, *, train):
    c1 = _block(8, 3, images, "stage1", train, stride=2)
    return [c1, _block(12, 3, c1, "stage2", train, stride=2)]


class Decoder1(nn.Module):
  """c4 projected and resized, beside c1 projected, fused."""

  num_classes: int
  reads = (0, 1)
  rep_channels = 0

  @nn.compact
  def __call__(self, features, *, train, dropout):
    del dropout
    c1, c4 = features
    x = _block(8, 1, c4, "head", train)
    x = resize.resize_bilinear(x, c1.shape[1:3])
    x = jnp.concatenate([_block(6, 1, c1, "reduce", train), x], axis=-1)
    x = _block(10, 3, x, "fuse", train)
    logits = _conv(self.num_classes, 1, x, "classifier", use_bias=True)
    return {"logits": logits}


class Encoder2(nn.Module):
  """Patches and four residual blocks: four maps of tokens."""

  strides = (14,) * 4

  @nn.compact
  def __call__(self, images, *, train):
    x = nn.Conv(8, (14, 14), 14, padding="VALID", use_bias=False, name="patch")(
      images
    )
    x = layers.BatchNorm(name="bn")(x, train=train)
    features = []
    for index in range(4):
      name = f"blocks.{index}"
      x = x + jnp.tanh(_conv(8, 1, x, name, use_bias=True))
      features.append(x)
    return features


class Decoder2(nn.Module):
  """All maps side by side, fused."""

  num_classes: int
  reads = (0, 1, 2, 3)
  rep_channels = 0

  @nn.compact
  def __call__(self, features, *, train, dropout):
    del dropout
    x = jnp.concatenate(features, axis=-1)
    # PyTorch's names within this part begin with "head".
    x = _block(10, 3, x, "fuse", train)
    logits = _conv(self.num_classes, 1, x, "classifier", use_bias=True)
    return {"logits": logits}


def create(config: dict[str, Any]) -> network.Network:
  """The tiny network of a recording, for images that are normalized."""
  encoder, decoder, multiple = {
    1: (Encoder1, Decoder1, 1),
    2: (Encoder2, Decoder2, 14),
  }[config["version"]]
  return network.Network(
    encoder=encoder(),
    decoder=decoder(config["K"]),
    auxor=None,
    num_classes=config["K"],
    mean_rgb=(0.0,) * 3,
    std_rgb=(1.0,) * 3,
    multiple=multiple,
  )


def name_of(path: tuple[str, ...], version: int) -> str:
  """What PyTorch calls a variable, by its path with the collection first."""
  part = {"encoder": "backbone.", "decoder": "head." * (version == 2)}[path[1]]
  return f"{part}{path[2]}.{_LEAVES[path[0], path[-1]]}"


def to_torch(variables: dict, version: int) -> dict[str, np.ndarray]:
  """PyTorch name -> array, in PyTorch's layout."""
  named = {}
  for path, leaf in traverse_util.flatten_dict(variables).items():
    value = np.asarray(leaf)
    if path[-1] == "kernel":
      value = value.transpose(3, 2, 0, 1)
    named[name_of(path, version)] = value
  return named


def from_torch(
  entries: dict[str, np.ndarray], model: network.Network, version: int
) -> dict:
  """The variables of a network from a recording's `net/` arrays."""
  filled = {}
  shapes = traverse_util.flatten_dict(model.variable_shapes())
  for path, leaf in shapes.items():
    value = entries[name_of(path, version)]
    if path[-1] == "kernel":
      value = value.transpose(2, 3, 1, 0)
    assert value.shape == leaf.shape
    filled[path] = jnp.asarray(value)
  counters = [name for name in entries if name.endswith("num_batches_tracked")]
  assert len(filled) + len(counters) == len(entries)
  return traverse_util.unflatten_dict(filled)


def entries_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The arrays of a recording under `net/`."""
  return {
    name.removeprefix("net/"): array
    for name, array in arrays.items()
    if name.startswith("net/")
  }


def full_size(logits: jax.Array, images: np.ndarray) -> jax.Array:
  """Logits at the size of images [B, H, W, 3]."""
  return resize.resize_bilinear(logits, images.shape[1:3])
