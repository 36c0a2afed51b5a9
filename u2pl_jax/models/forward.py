"""Forward passes of a network: in train mode, and in eval mode at full size."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn

from u2pl_jax.ops import resize

Variables = Mapping[str, Any]  # {"params", "batch_stats"}

# Normalized images [B, H, W, 3] to logits [B, H, W, K] of the same size.
Net = Callable[[jax.Array], jax.Array]


def train_pass(
  model: nn.Module,
  variables: Variables,
  images: jax.Array,
  key: jax.Array,
  *,
  dropout: bool,
  **arguments: Any,
) -> tuple[dict[str, jax.Array], Any]:
  """A forward pass on batch statistics.

  Args:
    model: the network.
    variables: its own; `batch_stats` may be empty.
    images: [B, H, W, 3] float32, normalized.
    key: PRNG key of the dropout.
    dropout: whether there is any.
    **arguments: further ones of the network.

  Returns:
    Its outputs, and the running statistics afterwards.
  """
  outputs, updates = model.apply(
    variables,
    images,
    train=True,
    dropout=dropout,
    rngs={"dropout": key},
    mutable=["batch_stats"],
    **arguments,
  )
  # A network without batch normalization leaves no update.
  return outputs, updates.get("batch_stats", variables["batch_stats"])


def make_net(model: nn.Module, variables: Variables) -> Net:
  """The network in eval mode, its logits resized to the images' size.

  Images whose sides the network cannot take are seen at the nearest size that
  it can; the logits are first brought to that size, then to the images'.

  Reference: UniMatch-V2 supervised.py, `evaluate`, mode "original".
  """

  def net(images):
    size = images.shape[1:3]
    seen = tuple(nearest_multiple(side, model.multiple) for side in size)
    images = resize.resize_bilinear(images, seen)
    outputs = model.apply(variables, images, train=False, dropout=False)
    logits = resize.resize_bilinear(outputs["logits"], seen)
    return resize.resize_bilinear(logits, size)

  return net


def nearest_multiple(side: int, multiple: int) -> int:
  """The multiple next to `side`, at least one; of two the larger one."""
  if multiple == 1:  # Also of a side that is a symbol.
    return side
  return max(1, (2 * side + multiple) // (2 * multiple)) * multiple
