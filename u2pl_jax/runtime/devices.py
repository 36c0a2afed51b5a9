"""What the devices at hand are."""

import os

import jax


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
  return _free_host_bytes() // jax.local_device_count()


def _free_host_bytes() -> int:
  """Of the machine, or of the container where that is less."""
  page = os.sysconf("SC_PAGE_SIZE")
  # macOS does not tell what is free.
  name = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else ""
  free = page * os.sysconf(name or "SC_PHYS_PAGES")
  for line in _read("/proc/meminfo").splitlines():
    if line.startswith("MemAvailable:"):  # Counts caches, which give way.
      free = int(line.split()[1]) * 1024
  limit = _read("/sys/fs/cgroup/memory.max").strip()
  used = _read("/sys/fs/cgroup/memory.current").strip()
  if limit.isdecimal() and used.isdecimal():
    free = min(free, max(int(limit) - int(used), 0))
  return free


def _read(path: str) -> str:
  try:
    with open(path, encoding="utf-8") as file:
      return file.read()
  except OSError:
    return ""
