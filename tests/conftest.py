"""Settings of the whole test run: CPU, eight devices, highest precision."""

import os
import tempfile

# Before TensorFlow is imported anywhere: its notes on start-up help nobody.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Tests compile much and compute little.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")

# The threads of XLA's CPU client, one a device by default. Collectives that do
# not depend on each other each hold a thread until all devices have come, so
# that a device that waits in two of them can leave none for the last. Programs
# that tests start have one device each.
with pytest.MonkeyPatch.context() as _patch:
  _patch.setenv("NPROC", "32")
  jax.devices()

# Tests of the loop compile the same programs again and again. The first process
# makes the place where all leave them, and the others get its environment.
_CACHE_VARIABLE = "U2PL_JAX_TEST_CACHE"
if _CACHE_VARIABLE not in os.environ:
  _CACHE = tempfile.TemporaryDirectory(prefix="u2pl_jax_test_")
  os.environ[_CACHE_VARIABLE] = _CACHE.name
  # Where programs that tests start keep theirs: not in the user's folder.
  os.environ["XDG_CACHE_HOME"] = _CACHE.name
jax.config.update("jax_compilation_cache_dir", os.environ[_CACHE_VARIABLE])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# Files that take minutes start first, so that none is left over for one process
# at the end.
_LONG = (
  "train_test.py",
  "distributed_test.py",
  "soak_test.py",
  "corruption_test.py",
  "train_step_test.py",
  "trajectory_test.py",
  "experiment_test.py",
  "published_commands_test.py",
)


def pytest_collection_modifyitems(items):
  order = {name: index for index, name in enumerate(_LONG)}
  items.sort(key=lambda item: order.get(item.path.name, len(order)))
