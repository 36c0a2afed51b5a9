"""A run at its start or later, saved as if it had been trained so far."""

import jax
import numpy as np
from etils import epath

from tests import saved_progress
from u2pl_jax import experiment
from u2pl_jax.runtime import checkpoint, workdir


def write_run(folder, config, step):
  """A run whose state at `step` is that of its start.

  Args:
    folder: of the run.
    config: of the run; its first phase holds the step.
    step: of the checkpoint.
  """
  folder = epath.Path(folder)
  exp = experiment.create_experiment(config, devices=jax.devices()[:1])
  data = exp.dataset
  workdir.claim(folder, config, data.class_names, data.palette)
  state = exp.programs.create_state()
  now = jax.device_put(np.int32(step), state.step.sharding)
  progress = saved_progress.make(step)
  progress["data"] = exp.fingerprint
  with checkpoint.open_manager(folder / "checkpoints", keep_last=1) as manager:
    checkpoint.save(manager, step, state.replace(step=now), progress, 20.0)
  return folder
