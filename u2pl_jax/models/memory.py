"""What a network takes of a device's memory, without compiling it."""

from typing import Any

import jax
import jax.numpy as jnp

from u2pl_jax.models import forward, network


def kept_bytes(model: network.Network, size: tuple[int, int]) -> int:
  """What the backward pass of one image finds kept by its forward pass.

  It is the greatest part of what a training step takes, and grows with the
  number of images; the parameters are not counted.

  Args:
    model: the network.
    size: (height, width) of the image in pixels.

  Returns:
    Bytes, logits at the image's size included.
  """
  variables = model.variable_shapes()
  # Batch normalization refuses a single image.
  images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)

  def keep(params, statistics, images):
    def logits(params):
      outputs, _ = forward.train_pass(
        model,
        {"params": params, "batch_stats": statistics},
        images,
        jax.random.key(0),
        dropout=False,
      )
      return outputs["logits"]

    return jax.vjp(logits, params)[1]

  kept = jax.eval_shape(
    keep, variables["params"], variables["batch_stats"], images
  )
  logits = size[0] * size[1] * model.num_classes * jnp.float32(0).nbytes
  return (_count_bytes(kept) - _count_bytes(variables["params"])) // 2 + logits


def _count_bytes(tree: Any) -> int:
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
