"""model.dtype=bfloat16: what is rounded in a whole step, and what is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from tests import tiny_run

# Of losses, probabilities, norms and statistics.
FLOAT32_ONLY = {
  "exp", "exp2", "log", "log1p", "logistic", "rsqrt", "sqrt", "square",
  "integer_pow", "reduce_max", "sort", "cumsum", "argmax", "top_k",
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


def equations(jaxpr):
  """All operations, those inside of others too."""
  for eqn in jaxpr.eqns:
    yield eqn
    for value in jax.tree.leaves(
      list(eqn.params.values()),
      is_leaf=lambda leaf: isinstance(leaf, core.ClosedJaxpr | core.Jaxpr),
    ):
      if isinstance(value, core.ClosedJaxpr):
        yield from equations(value.jaxpr)
      elif isinstance(value, core.Jaxpr):
        yield from equations(value)


def takes_bfloat16(eqn):
  return any(
    getattr(var.aval, "dtype", None) == jnp.bfloat16 for var in eqn.invars
  )


def test_losses_norms_and_statistics_are_computed_in_float32(data_dir):
  exp = tiny_run.create(data_dir, **{"model.dtype": "bfloat16"})
  batch = exp.data.batch_shapes(exp.programs.supply)
  for _, traced in exp.programs.trace_steps(batch):
    rounded = [e for e in equations(traced.jaxpr.jaxpr) if takes_bfloat16(e)]
    names = {eqn.primitive.name for eqn in rounded}
    assert "conv_general_dilated" in names
    assert not names & FLOAT32_ONLY
    # Sums are those of gradients, of what was broadcast: biases above all.
    for eqn in rounded:
      if eqn.primitive.name == "reduce_sum":
        assert "transpose" in str(eqn.source_info.name_stack)


def test_state_and_metrics_are_float32(data_dir):
  exp = tiny_run.create(data_dir, **{"model.dtype": "bfloat16"})
  batch = exp.data.batch_shapes(exp.programs.supply)
  for _, traced in exp.programs.trace_steps(batch):
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(traced.out_info)}
    assert dtypes <= {"float32", "int32", "bool"}


def test_a_step_gives_the_losses_of_float32(data_dir):
  # The first ones: later ones differ by what a step's rounding has led to.
  plain, rounded = (
    tiny_run.make_steps(data_dir, count=1, **{"model.dtype": dtype})[0]
    for dtype in ("float32", "bfloat16")
  )
  assert not np.array_equal(plain, rounded)
  np.testing.assert_allclose(rounded, plain, rtol=0.03, atol=0.01)
