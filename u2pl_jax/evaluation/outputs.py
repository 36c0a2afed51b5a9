"""What a network says about images: the one function behind every tool.

Evaluation, prediction, export, report and benchmark differ only in which of
`NAMES` they ask for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.models import forward
from u2pl_jax.ops import percentile

Variables = Mapping[str, Any]
Predict = Callable[[Variables, jax.Array], dict[str, jax.Array]]

# How each output is computed from logits [B, H, W, K].
_COMPUTE = {
  "logits": lambda logits: logits,
  "labels": lambda logits: jnp.argmax(logits, axis=-1).astype(jnp.uint8),
  "probability": lambda logits: jnp.max(jax.nn.softmax(logits), axis=-1),
  "entropy": percentile.compute_entropy,
}
NAMES = tuple(_COMPUTE)


def make_predict(
  model: nn.Module, protocol: protocol_lib.Protocol, names: Sequence[str]
) -> Predict:
  """predict(variables, images) -> outputs in eval mode, at the images' size.

  Args:
    model: the network.
    protocol: what is seen of an image, at which scales.
    names: the wanted outputs, of `NAMES`; no other is computed.

  Returns:
    A jitted function of variables and uint8 RGB images [B, H, W, 3], compiled
    once for each size. It returns a dict of

      logits       float32 [B, H, W, K]
      labels       uint8 [B, H, W], the most probable class
      probability  float32 [B, H, W] in (0, 1], of that class
      entropy      float32 [B, H, W] in [0, log K], nats
  """

  def predict(variables, images):
    net = forward.make_net(model, variables)
    logits = protocol.compute_logits(net, model.normalize(images))
    return compute(logits, names)

  return jax.jit(predict)


def compute(logits: jax.Array, names: Sequence[str]) -> dict[str, jax.Array]:
  """Outputs of logits.

  Args:
    logits: float32 [..., K].
    names: the wanted outputs, of `NAMES`.

  Returns:
    As `make_predict`, [...] instead of [B, H, W].
  """
  return {name: _COMPUTE[name](logits) for name in names}
