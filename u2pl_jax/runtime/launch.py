"""The start of a program: whose the accelerators are, in which order."""

import os

import jax
from jax.experimental import multihost_utils

from u2pl_jax.runtime import distributed


def start(
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> None:
  """Joins the other processes, gives JAX all devices and TensorFlow none.

  TensorFlow, also as part of `clu.metric_writers`, is not to be imported
  before: it breaks runs on several GPUs (google/flax issue 4942).

  Args:
    coordinator_address, num_processes, process_id: see `distributed.start`.

  Raises:
    ValueError: see `distributed.start`.
  """
  distributed.start(coordinator_address, num_processes, process_id)
  jax.devices()
  # Devices connect while their processes are in step: later, one may compile
  # longer than the 30 s that CPUs (gloo) wait for each other the first time.
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("start")
  # It only reads images here; no notes on start-up, please.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  import tensorflow as tf

  for kind in ("GPU", "TPU"):
    tf.config.set_visible_devices([], kind)
