"""Accelerators that are not there: what they are, and devices to compile for.

JAX's plugins compile for hardware that the machine lacks: libtpu for TPUs, the
CUDA plugin for GPUs, of which it must be told the limits. Such devices hold no
arrays and run no programs.

Sources: cloud.google.com/tpu/docs for TPUs (each version's system architecture
page); the data sheets of H100, H200, A100 and L4 for GPUs, dense rates without
sparsity; limits from `target_config/specs` of github.com/openxla/xla, and for
the L4, which is not there, from the Ada architecture's white paper and CUDA's
occupancy tables for compute capability 8.9.
"""

import dataclasses
import importlib.util
import os
import re
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import topologies

# One chip is reached as one host; libtpu would expect a board of four.
_ONE_CHIP = {"chips_per_host_bounds": (1, 1, 1)}
_GPUS_OF_A_HOST = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """A kind of accelerator.

  Attributes:
    name: what its maker calls it.
    memory: bytes.
    bandwidth: of the memory, bytes/s.
    peaks: FLOP/s of matrix products by what `flops.count_jaxpr` calls them.
    cache: bytes that may be read again without the memory.
    usable: share of the memory that JAX takes by default.
  """

  name: str
  memory: int
  bandwidth: float
  peaks: Mapping[str, float]
  cache: int = 0
  usable: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tpu(Chip):
  """With the layouts that are offered, and further arguments of libtpu."""

  layouts: tuple[str, ...]
  arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Gpu(Chip):
  """With limits that the compiler asks for, in its own names."""

  limits: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Topology:
  """Accelerators to compile for.

  Attributes:
    name: as it was given, "v5e:4x4".
    chip: of which kind they are.
    devices: what a mesh is made of.
    platform: "tpu" or "gpu".
  """

  name: str
  chip: Chip
  devices: tuple[jax.Device, ...]
  platform: str


def _tpu_peaks(bfloat16: float) -> dict[str, float]:
  # Products of float32 are rounded to bfloat16 by default; with the highest
  # precision they are made of six such products.
  return {
    "bfloat16": bfloat16,
    "float32": bfloat16,
    "float32, highest": bfloat16 / 6,
  }


def _tpu(name, gib, bandwidth, bfloat16, layouts, **arguments) -> _Tpu:
  return _Tpu(
    name=name,
    memory=gib * 2**30,
    bandwidth=bandwidth,
    peaks=_tpu_peaks(bfloat16),
    layouts=tuple(layouts.split()),
    arguments=arguments,
  )


_FLAT = "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16"
_CUBES = (
  "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16 16x16x16"
)
_TPUS = {
  # "megacore": both cores of a chip are one device, as they are by default.
  "v4": _tpu("TPU v4", 32, 1228e9, 275e12, _CUBES, chip_config_name="megacore"),
  "v5e": _tpu("TPU v5e", 16, 819e9, 197e12, _FLAT),
  "v5p": _tpu("TPU v5p", 95, 2765e9, 459e12, _CUBES),
  "v6e": _tpu("TPU v6e", 32, 1640e9, 918e12, _FLAT),
}


def _gpu(name, memory, bandwidth, peaks, **limits) -> _Gpu:
  """`peaks` are in TFLOP/s, of bfloat16, TF32 and float32."""
  kinds = "bfloat16", "float32", "float32, highest"
  return _Gpu(
    name=name,
    memory=memory,
    bandwidth=bandwidth,
    peaks={kind: peak * 1e12 for kind, peak in zip(kinds, peaks, strict=True)},
    cache=limits["l2_cache_size"],
    usable=0.75,
    limits=limits,
  )


_HOPPER = {
  "cuda_compute_capability": (9, 0),
  "core_count": 132,
  "fpus_per_core": 128,
  "threads_per_core_limit": 2048,
  "shared_memory_per_core": 233_472,
  "shared_memory_per_block_optin": 232_448,
  "l2_cache_size": 50 * 2**20,
  "clock_rate_ghz": 1.98,
}
_AMPERE = {
  "cuda_compute_capability": (8, 0),
  "core_count": 108,
  "fpus_per_core": 64,
  "threads_per_core_limit": 2048,
  "shared_memory_per_core": 167_936,
  "shared_memory_per_block_optin": 166_912,
  "l2_cache_size": 40 * 2**20,
  "clock_rate_ghz": 1.41,
}
_ADA = {
  "cuda_compute_capability": (8, 9),
  "core_count": 58,
  "fpus_per_core": 128,
  "threads_per_core_limit": 1536,
  "shared_memory_per_core": 102_400,
  "shared_memory_per_block_optin": 101_376,
  "l2_cache_size": 48 * 2**20,
  "clock_rate_ghz": 2.04,
}
_GPUS = {
  "h100": _gpu(
    "NVIDIA H100 SXM", 84_942_979_072, 3352e9, (989.4, 494.7, 66.9), **_HOPPER
  ),
  "h200": _gpu(
    "NVIDIA H200 SXM", 151_397_597_184, 4800e9, (989.4, 494.7, 66.9), **_HOPPER
  ),
  "a100_40": _gpu(
    "NVIDIA A100 40GB", 42_331_013_120, 1555e9, (312, 156, 19.5), **_AMPERE
  ),
  "a100_80": _gpu(
    "NVIDIA A100 80GB", 85_100_068_864, 2039e9, (312, 156, 19.5), **_AMPERE
  ),
  "l4": _gpu("NVIDIA L4", 23_583_784_960, 300e9, (121, 60.5, 30.3), **_ADA),
}
# The same for all of them.
_LIMITS = {
  "threads_per_block_limit": 1024,
  "threads_per_warp": 32,
  "shared_memory_per_block": 49_152,
  "registers_per_core_limit": 65_536,
  "registers_per_block_limit": 65_536,
  "block_dim_limit_x": 2**31 - 1,
  "block_dim_limit_y": 65_535,
  "block_dim_limit_z": 65_535,
  "thread_dim_limit_x": 1024,
  "thread_dim_limit_y": 1024,
  "thread_dim_limit_z": 64,
}


def create(name: str) -> Topology:
  """The accelerators that a name stands for; takes the place of no backend.

  Args:
    name: "CHIP:LAYOUT" of TPUs, "v5e:4x4", or "CHIP:COUNT" of GPUs, "h100:8".

  Raises:
    ValueError: one line; there is no such chip or layout, or libtpu is in use.
    ImportError: one line; JAX's plugin for it is not installed.
  """
  kind, _, layout = name.partition(":")
  if kind in _TPUS and layout in _TPUS[kind].layouts:
    chip = _TPUS[kind]
    return Topology(name, chip, _tpu_devices(name, chip, layout), "tpu")
  if kind in _GPUS and _is_gpu_count(layout):
    chip = _GPUS[kind]
    return Topology(name, chip, _gpu_devices(chip, int(layout)), "gpu")
  raise ValueError(f"--topology={name}: {_known(kind)}")


def _is_gpu_count(layout: str) -> bool:
  if not re.fullmatch(r"[1-9]\d{0,4}", layout):
    return False
  return int(layout) <= _GPUS_OF_A_HOST or int(layout) % _GPUS_OF_A_HOST == 0


def _known(kind: str) -> str:
  """What may stand there instead."""
  if kind in _TPUS:
    return f"{kind} comes as {', '.join(_TPUS[kind].layouts)}"
  if kind in _GPUS:
    return f"must be {kind}:COUNT, up to {_GPUS_OF_A_HOST} or a multiple of it"
  tpus = ", ".join(f"{tpu}:{_TPUS[tpu].layouts[3]}" for tpu in _TPUS)
  return (
    f"must be TPUs with their layout, such as {tpus}, or GPUs with their"
    f" number, such as {', '.join(f'{gpu}:8' for gpu in _GPUS)}"
  )


def _tpu_devices(name: str, chip: _Tpu, layout: str) -> tuple[jax.Device, ...]:
  if importlib.util.find_spec("libtpu") is None:
    raise ImportError(
      f'--topology={name}: libtpu is missing; pip install "jax[tpu]"'
    )
  # Else libtpu asks the network which TPU this machine is part of.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  arguments = dict(chip.arguments) | (_ONE_CHIP if layout == "1x1" else {})
  try:
    description = topologies.get_topology_desc(
      platform="tpu", topology_name=name, **arguments
    )
  except jax.errors.JaxRuntimeError as error:
    if "lockfile" not in str(error):
      raise
    raise ValueError(
      f"--topology={name}: libtpu serves one process at a time, and another one"
      " holds /tmp/libtpu_lockfile; wait for it to end"
    ) from error
  return tuple(description.devices)


def _gpu_devices(chip: _Gpu, count: int) -> tuple[jax.Device, ...]:
  if not _has_cuda_plugin():
    raise ImportError(
      "--topology: JAX's CUDA plugin is missing; pip install"
      ' "jax[cuda12]" (or "jax[cuda13]")'
    )
  hosts = -(-count // _GPUS_OF_A_HOST)
  description = topologies.get_topology_desc(
    chip.name,
    "cuda",
    target_config=_target_config(chip),
    topology=f"1x{hosts}x{count // hosts}",
  )
  return tuple(description.devices)


def _has_cuda_plugin() -> bool:
  return any(
    importlib.util.find_spec(f"jax_{version}_plugin") is not None
    for version in ("cuda12", "cuda13")
  )


def _target_config(chip: _Gpu) -> str:
  """A `stream_executor.GpuTargetConfigProto` in its text form."""
  limits = _LIMITS | dict(chip.limits)
  major, minor = limits.pop("cuda_compute_capability")
  lines = [f"{name}: {value}" for name, value in limits.items()]
  lines += [
    f"device_memory_size: {chip.memory}",
    f"memory_bandwidth: {int(chip.bandwidth)}",
    f"cuda_compute_capability {{ major: {major} minor: {minor} }}",
  ]
  return (
    f"gpu_device_info {{ {' '.join(lines)} }}\n"
    'platform_name: "CUDA"\n'
    "dnn_version_info { major: 9 minor: 10 }\n"
    f'device_description_str: "{chip.name}"\n'
  )
