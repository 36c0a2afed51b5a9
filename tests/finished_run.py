"""What a run left in its folder."""

import jax
import numpy as np
from tensorboard.backend.event_processing import event_accumulator

from u2pl_jax import experiment
from u2pl_jax.experiment import states
from u2pl_jax.runtime import checkpoint


def state_of(config, workdir, step=None):
  """The state of a checkpoint, the last one if none is named."""
  exp = experiment.create_experiment(config)
  with checkpoint.open_manager(
    workdir / "checkpoints", keep_last=1, read_only=True
  ) as manager:
    step = step or checkpoint.find_step(manager, "last")
    state, _ = states.restore_state(exp, manager, step)
  return jax.device_get(state)


def assert_bit_identical(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def read_tags(workdir):
  """{tag: steps} of what TensorBoard shows."""
  events = event_accumulator.EventAccumulator(
    str(workdir), size_guidance={"tensors": 0}
  )
  events.Reload()
  tags = events.Tags()["tensors"]
  return {tag: [e.step for e in events.Tensors(tag)] for tag in tags}
