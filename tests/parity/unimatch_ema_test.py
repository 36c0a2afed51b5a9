"""The teacher of UniMatch V2 follows as the published one does."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden
from u2pl_jax.methods import teacher, unimatch_v2

_MAX_DECAY = unimatch_v2.UniMatchV2Options().ema_decay


@golden.every_file("unimatch_ema")
def test_decays(path):
  """Within 1e-12, computed in float64 for that."""
  recorded = golden.load(path)["decay"]
  with jax.enable_x64(True):
    steps = jnp.arange(1, len(recorded) + 1, dtype=jnp.int64)
    decays = teacher.ema_decay(steps, _MAX_DECAY)
    np.testing.assert_allclose(decays, recorded, rtol=0, atol=1e-12)


@golden.every_file("unimatch_ema")
def test_all_variables_follow(path):
  """Within 1e-6; counters are exact."""
  arrays = golden.load(path)
  student = {
    name: arrays[f"student_{name}"] for name in ("param", "mean", "count")
  }
  student["count"] = student["count"].astype(np.int32)
  count = len(student["param"])
  student["locked"] = np.tile(arrays["locked"], (count, 1))
  start = {
    "param": arrays["initial_param"],
    "mean": arrays["initial_mean"],
    "count": np.int32(0),
    "locked": arrays["locked"],
  }

  def follow(before, step_and_student):
    step, student = step_and_student
    decay = teacher.ema_decay(step + 1, _MAX_DECAY)
    after = teacher.ema_update(before, student, decay)
    return after, after

  _, found = jax.lax.scan(follow, start, (np.arange(count), student))
  for name, actual in found.items():
    recorded = arrays[f"teacher_{name}"]
    if name == "count":
      np.testing.assert_array_equal(actual, recorded)
    else:
      np.testing.assert_allclose(actual, recorded, rtol=0, atol=1e-6)
