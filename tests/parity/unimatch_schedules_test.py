"""Learning rates of both versions, to 1e-9 relative, in float64 for that."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden, unimatch_step
from u2pl_jax.training import optim


@golden.every_file("unimatch_schedules")
def test_learning_rates(path):
  arrays = golden.load(path)
  for name, given in unimatch_step.config_of(arrays)["datasets"].items():
    options = optim.OptimOptions(
      learning_rate=given["lr"],
      factors={"encoder": 1.0, "head": given["lr_multi"]},
      power=given["power"],
      late_rate=True,
    )
    rates = optim.learning_rates(
      options,
      learning_rate=options.learning_rate,
      total_steps=given["steps_per_epoch"] * given["epochs"],
    )
    recorded = arrays[f"{name}/lr_used"]
    with jax.enable_x64(True):
      steps = jnp.arange(len(recorded), dtype=jnp.int64)
      for group, column in zip(("encoder", "head"), recorded.T, strict=True):
        np.testing.assert_allclose(rates[group](steps), column, rtol=1e-9)
