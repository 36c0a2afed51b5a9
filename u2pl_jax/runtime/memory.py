"""How much memory of the host there is, and how much this process holds."""

import ctypes
import os
import pathlib
import re

_PROC = pathlib.Path("/proc")
_CGROUP = pathlib.Path("/sys/fs/cgroup")  # As a container sees its own.


def resident_bytes() -> int | None:
  """What this process holds; None where that is not known."""
  try:
    pages = int((_PROC / "self" / "statm").read_text().split()[1])
  except OSError:  # Linux only.
    return None
  return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(process: int | str = "self") -> int | None:
  """The most that a process has held; None where that is not known.

  Unlike what the system tells when it ends: that counts what the process that
  started it held then.
  """
  try:
    status = (_PROC / str(process) / "status").read_text()
  except OSError:
    return None
  found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
  return 1024 * int(found[1]) if found else None  # None: it is ending.


def available_bytes() -> int | None:
  """What this process can still get; None where that is not known.

  Files that the system keeps in memory do not count as used.
  """
  try:
    found = _read_numbers(_PROC / "meminfo")
    available = 1024 * (found["MemAvailable:"] + found.get("SwapFree:", 0))
  except (OSError, KeyError):
    return None
  try:
    limit = int((_CGROUP / "memory.max").read_text())
    used = int((_CGROUP / "memory.current").read_text())
    files = _read_numbers(_CGROUP / "memory.stat").get("inactive_file", 0)
  except (OSError, ValueError):  # No limit, which reads "max".
    return available
  return min(available, max(limit - used + files, 0))


def release_free() -> None:
  """Hands memory back to the system that this process no longer uses.

  glibc keeps what was freed in small pieces: after a large network is compiled
  about 0.8 GB. Other C libraries are left alone.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)


def _read_numbers(path: pathlib.Path) -> dict[str, int]:
  """{word: number} of a file of lines such as "MemFree: 12 kB"."""
  lines = map(str.split, path.read_text().splitlines())
  return {words[0]: int(words[1]) for words in lines if len(words) > 1}
