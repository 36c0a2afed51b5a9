"""What the parts of a network cost: parameters, products, and memory.

All is found without compiling or computing anything.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from u2pl_jax.models import network
from u2pl_jax.runtime import flops

PyTree = Any
# Batch normalization refuses a single image.
_IMAGES = 2


@dataclasses.dataclass(frozen=True)
class Cost:
  """Of one forward pass of one image in train mode.

  Attributes:
    parameters: number of them.
    macs: multiply-adds of products and convolutions, those of interpolation
      left out.
    kept_bytes: what is kept for the backward pass, parameters left out.
    scores_bytes: the part of it that grows with the square of the number of
      pixels: the weights of attention.
  """

  parameters: int
  macs: int
  kept_bytes: int
  scores_bytes: int


def of_parts(model: network.Network, size: tuple[int, int]) -> dict[str, Cost]:
  """The costs of the encoder and of what follows it, up to its logits.

  Args:
    model: the network.
    size: (height, width) of the image in pixels.
  """
  variables = model.variable_shapes()
  images = jax.ShapeDtypeStruct((_IMAGES, *size, 3), jnp.float32)

  def run(method, variables, inputs):
    return model.apply(
      variables,
      inputs,
      method=method,
      rngs={"dropout": jax.random.key(0)},
      mutable=["batch_stats"],
    )[0]

  encode = functools.partial(run, _encode)
  features = jax.eval_shape(encode, variables, images)
  heads = [name for name in variables["params"] if name != "encoder"]
  return {
    "encoder": _measure(encode, variables, ["encoder"], images),
    "rest": _measure(
      functools.partial(run, _decode), variables, heads, features
    ),
  }


def _encode(model: network.Network, images: jax.Array) -> list[jax.Array]:
  return model.encode(images, train=True)


def _decode(model: network.Network, features: list[jax.Array]) -> PyTree:
  outputs = model.decoder(features, train=True, dropout=False)
  if model.auxor is not None:
    outputs["aux"] = model.auxor(features[-2], train=True, dropout=False)
  return outputs


def _measure(
  function: Callable[[PyTree, PyTree], PyTree],
  variables: PyTree,
  parts: list[str],
  inputs: PyTree,
) -> Cost:
  """The cost of a function of a network's variables and of images.

  Args:
    function: its result is differentiated by the parameters of `parts`.
    variables: shapes of the whole network's.
    parts: that it runs.
    inputs: shapes of images or features, of `_IMAGES` images.
  """
  params = {part: variables["params"][part] for part in parts}

  def keep(params, inputs):
    def run(params, inputs):
      return function(variables_with(params), inputs)

    return jax.vjp(run, params, inputs)[1]

  def variables_with(params):
    statistics = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables["batch_stats"]
    )
    return {"params": params, "batch_stats": statistics}

  with jax.default_matmul_precision("default"):
    jaxpr = jax.make_jaxpr(lambda p, x: function(variables_with(p), x))(
      params, inputs
    )
  found = flops.count_jaxpr(jaxpr)
  # Interpolation, whose products alone are of the highest precision.
  counted = sum(n for kind, n in found.items() if "highest" not in kind)
  kept = list(_kept(jax.eval_shape(keep, params, inputs), params))
  return Cost(
    parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
    macs=counted // (2 * _IMAGES),
    kept_bytes=sum(map(_bytes, kept)) // _IMAGES,
    scores_bytes=sum(_bytes(x) for x in kept if _is_scores(x)) // _IMAGES,
  )


def _kept(kept: PyTree, params: PyTree) -> Iterator[jax.ShapeDtypeStruct]:
  """What is kept but for the parameters, which are there anyway."""
  # By sizes, as a 1x1 kernel is kept as a matrix.
  left = collections.Counter(
    (leaf.size, leaf.dtype) for leaf in jax.tree.leaves(params)
  )
  for leaf in jax.tree.leaves(kept):
    if left[leaf.size, leaf.dtype]:
      left[leaf.size, leaf.dtype] -= 1
    else:
      yield leaf


def _is_scores(leaf: jax.ShapeDtypeStruct) -> bool:
  """Whether an array is [B, heads, n, n], fewer heads than tokens."""
  # Not a kernel [3, 3, n, n], of which a copy in bfloat16 is kept.
  if leaf.ndim != 4 or leaf.shape[0] != _IMAGES:
    return False
  return leaf.shape[1] < leaf.shape[2] == leaf.shape[3]


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
  return leaf.size * leaf.dtype.itemsize
