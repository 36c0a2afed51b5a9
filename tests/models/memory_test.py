"""The estimate of a pass's memory, beside what the compiler takes."""

import jax
import jax.numpy as jnp
import pytest

from configs import camvid
from u2pl_jax.models import forward, memory, network
from u2pl_jax.ops import resize


def compile_gradient(model, size, count):
  """Bytes that a compiled gradient takes beside arguments and results."""
  variables = model.variable_shapes()

  def loss(params, statistics, images):
    variables = {"params": params, "batch_stats": statistics}
    outputs, _ = forward.train_pass(
      model, variables, images, jax.random.key(0), dropout=False
    )
    logits = resize.resize_bilinear(outputs["logits"], size)
    return jax.nn.logsumexp(logits, axis=-1).mean()

  images = jax.ShapeDtypeStruct((count, *size, 3), jnp.float32)
  lowered = jax.jit(jax.grad(loss)).lower(
    variables["params"], variables["batch_stats"], images
  )
  return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("size", [(97, 97), (65, 193)])
def test_the_estimate_is_near_what_is_compiled(size):
  model = network.create(camvid.get_config().to_dict(), num_classes=11)
  compiled = compile_gradient(model, size, 4) / 4
  # Buffers are shared, but not all of them.
  assert 0.6 < compiled / memory.kept_bytes(model, size) < 1.4
