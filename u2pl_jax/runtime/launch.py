"""The start of a program: whose the accelerators are, in which order."""

import jax
from jax.experimental import multihost_utils

from u2pl_jax.runtime import compile_cache, distributed, quiet


def leave_accelerators() -> None:
  """To be called before `start`: JAX shall use no accelerator of this machine.

  Plugins that are installed without one would complain.
  """
  jax.config.update("jax_platforms", "cpu")


def start(
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> None:
  """Joins the other processes, gives JAX all devices and TensorFlow none.

  Compiled programs are kept, see `compile_cache`.

  TensorFlow, also as part of `clu.metric_writers`, is not to be imported
  before: it breaks runs on several GPUs (google/flax issue 4942).

  Args:
    coordinator_address, num_processes, process_id: see `distributed.start`.

  Raises:
    ValueError: see `distributed.start`.
  """
  distributed.start(coordinator_address, num_processes, process_id)
  jax.devices()
  compile_cache.use_default()
  # Devices connect while their processes are in step: later, one may compile
  # longer than the 30 s that CPUs (gloo) wait for each other the first time.
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("start")
  quiet.silence_tensorflow()
  import tensorflow as tf

  for kind in ("GPU", "TPU"):
    tf.config.set_visible_devices([], kind)
