"""Files of JSON lines that tell what was measured, and on what machine."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

_PACKAGES = (
  "flax",
  "jax",
  "jax2onnx",
  "jaxlib",
  "numpy",
  "onnxruntime",
  "opencv-python-headless",
  "optax",
  "pillow",
  "tensorflow",
  "tensorflow-cpu",
  "torch",
)


def append(record: Mapping[str, Any], path: str | pathlib.Path) -> None:
  """Appends a line; folders are made as needed.

  Raises:
    OSError: the file cannot be written.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("a", encoding="utf-8") as file:
    file.write(json.dumps(record) + "\n")


def read(path: str | pathlib.Path) -> list[dict[str, Any]]:
  """All lines; [] where there is no such file.

  Raises:
    ValueError: a line is damaged; names it.
  """
  path = pathlib.Path(path)
  lines = path.read_text("utf-8").splitlines() if path.exists() else []
  found = []
  for number, line in enumerate(lines, 1):
    try:
      found.append(json.loads(line))
    except json.JSONDecodeError:
      raise ValueError(
        f"{path}, line {number} is damaged; remove it, and what it told is"
        " measured anew"
      ) from None
  return found


def describe_machine() -> dict[str, Any]:
  """When, on what, beside what load, and with which versions."""
  return {
    "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    "cpu": _cpu_model(),
    "cpu_count": os.cpu_count(),
    "load_average": list(os.getloadavg()),
    "versions": {"python": platform.python_version()} | _package_versions(),
  }


def _cpu_model() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:  # Linux only.
    return platform.processor() or platform.machine()
  names = [
    line.split(":")[1] for line in lines if line.startswith("model name")
  ]
  return names[0].strip() if names else platform.machine()


def _package_versions() -> dict[str, str]:
  versions = {}
  for package in _PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return versions
