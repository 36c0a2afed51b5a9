"""What the machine has left."""

import jax
import pytest

from u2pl_jax.runtime import devices, memory

GIB = 2**30
MEMINFO = "MemTotal: 99 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\n"


def test_these_tests_run_on_cpus():
  assert devices.is_cpu()


@pytest.mark.parametrize(
  "limit, used, expected",
  [("max", str(GIB), 8 * GIB), (str(3 * GIB), str(GIB), 2 * GIB),
   (str(GIB), str(2 * GIB), 0), ("", "", 8 * GIB)],
)  # fmt: skip
def test_a_container_may_have_less_than_its_machine(
  monkeypatch, tmp_path, limit, used, expected
):
  files = {
    "meminfo": MEMINFO,
    "memory.max": f"{limit}\n",
    "memory.current": f"{used}\n",
    "memory.stat": "",
  }
  for name, text in files.items():
    (tmp_path / name).write_text(text)
  monkeypatch.setattr(memory, "_PROC", tmp_path)
  monkeypatch.setattr(memory, "_CGROUP", tmp_path)
  assert devices.free_bytes() == expected // jax.local_device_count()


def test_an_accelerator_tells_its_own(monkeypatch):
  class Device:
    def memory_stats(self):
      return {"bytes_limit": 100, "bytes_in_use": 30}

  monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
  assert devices.free_bytes() == 70


def test_without_linux_files_there_still_is_memory(monkeypatch, tmp_path):
  monkeypatch.setattr(memory, "_PROC", tmp_path / "absent")
  assert devices.free_bytes() > 0
