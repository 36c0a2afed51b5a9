"""What the devices at hand are."""

import os

import jax

from u2pl_jax.runtime import memory


def is_cpu() -> bool:
  """Whether there is nothing faster than a CPU."""
  return jax.default_backend() == "cpu"


def free_bytes() -> int:
  """Memory that each device has left for a program.

  Of GPUs and TPUs what JAX may take of it, of CPUs this process's part of what
  the machine has left.
  """
  statistics = jax.local_devices()[0].memory_stats() or {}
  if "bytes_limit" in statistics:
    return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
  available = memory.available_bytes()
  if available is None:  # Other systems than Linux tell what they have in all.
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return available // jax.local_device_count()
