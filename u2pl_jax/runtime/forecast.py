"""What a step would need of accelerators that are not there, and how long.

The program is compiled by their own compiler. Times are lower bounds: products
and convolutions at the chip's peak, or what must go through its memory at the
memory's rate, whichever takes longer. Real steps take longer than both.
"""

import re
import time
from collections.abc import Iterator
from typing import Any

import jax

from u2pl_jax.runtime import flops as flops_lib
from u2pl_jax.runtime import topology, traffic

# "Ran out of memory in memory space hbm. Used 18.3G of 15.75G hbm."
_TPU_IS_FULL = re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm")
# Which kernels a GPU gets its autotuner finds out by trying; where there is no
# GPU, XLA takes the first tiles it thinks of, and gives up if they do not fit.
_NO_TILES = "Couldn't find output tile sizes"
_WITHOUT_TRITON = {"xla_gpu_enable_triton_gemm": False}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Forecast:
  """A step, once compiled.

  Attributes:
    need: bytes of memory of one device.
    limit: bytes that it has for the program.
    text: the compiled program; None if the compiler found no room for it.
  """

  def __init__(
    self,
    name: str,
    traced: jax.stages.Traced,
    target: topology.Topology,
    num_devices: int,
  ):
    """Compiles the step; may take minutes.

    Args:
      name: of the step.
      traced: the step, on a mesh of the target's devices.
      target: what it is compiled for.
      num_devices: of the mesh.

    Raises:
      JaxRuntimeError: it does not compile, for another reason than memory.
    """
    self._name, self._target = name, target
    flops = flops_lib.count_jaxpr(traced.jaxpr)
    self._flops = {kind: n / num_devices for kind, n in flops.items()}
    self.limit = int(target.chip.memory * target.chip.usable)
    started = time.monotonic()
    self._compile(traced)
    self._seconds = time.monotonic() - started

  def _compile(self, traced: jax.stages.Traced) -> None:
    self.text = self._memory = None
    self._uses_triton = True
    try:
      compiled, self._uses_triton = _compile(traced)
    except jax.errors.JaxRuntimeError as error:
      full = _read_full(error)
      if full is None:
        raise
      self.need, self.limit = full
      return
    self._memory = compiled.memory_analysis()
    self.text = compiled.as_text()
    self.need = whole_memory(self._memory)

  @property
  def fits(self) -> bool:
    """Whether the program fits into what JAX takes by default."""
    return self.text is not None and self.need <= self.limit

  def describe(self) -> Iterator[str]:
    """Lines on its work, memory, and least time, each of one device."""
    yield f"{self._name} step, compiled in {self._seconds:.1f} s; a device"
    if not self._uses_triton:
      yield "            by cuBLAS alone: Triton needs an autotuner here"
    kinds = ", ".join(
      f"{flops / 1e9:,.3f} of {kind}" for kind, flops in self._flops.items()
    )
    yield (
      f"  computes  {sum(self._flops.values()) / 1e9:,.3f} GFLOP in products"
      f" and convolutions: {kinds}"
    )
    yield from self._describe_memory()
    if self.text is not None:
      yield from self._describe_time()

  def _describe_memory(self) -> Iterator[str]:
    chip = self._target.chip
    if self._memory is None:
      yield f"  needs     {megabytes(self.need)}, says the compiler"
    else:
      yield f"  needs     {format_memory(self._memory)}"
    share = ""
    if chip.usable < 1:
      share = (
        f", {chip.usable:.0%} of {megabytes(chip.memory)}, which JAX takes"
        " unless XLA_PYTHON_CLIENT_MEM_FRACTION says more"
      )
    verb = "fits into" if self.fits else "DOES NOT FIT into"
    yield f"  {verb} {megabytes(self.limit)} of {chip.name}{share}"
    if self._target.platform == "gpu":
      yield "            workspaces of cuDNN's convolutions come on top"

  def _describe_time(self) -> Iterator[str]:
    chip = self._target.chip
    moved = traffic.moved_bytes(self.text, chip.cache)
    fastest = max(chip.peaks.values())
    compute = sum(
      flops / chip.peaks.get(kind, fastest)
      for kind, flops in self._flops.items()
    )
    memory = moved / chip.bandwidth
    yield f"  moves     {megabytes(moved)} or more between chip and memory"
    yield (
      f"  takes     at least {1e3 * max(compute, memory):,.1f} ms, a bound:"
      f" {1e3 * compute:,.1f} ms at the peaks of its FLOPs,"
      f" {1e3 * memory:,.1f} ms at {chip.bandwidth / 1e9:,.0f} GB/s"
    )


def _compile(traced: jax.stages.Traced) -> tuple[jax.stages.Compiled, bool]:
  """The program, and whether Triton makes products of it."""
  lowered = traced.lower()
  try:
    return lowered.compile(), True
  except jax.errors.JaxRuntimeError as error:
    if _NO_TILES not in str(error):
      raise
    return lowered.compile(compiler_options=_WITHOUT_TRITON), False


def _read_full(error: Exception) -> tuple[int, int] | None:
  """Bytes needed and bytes there, of a compiler that found no room."""
  full = _TPU_IS_FULL.search(str(error))
  if full is None:
    return None
  need, limit = full.groups()[:2], full.groups()[2:]
  return tuple(int(float(n) * _UNITS[unit]) for n, unit in (need, limit))


def needed_bytes(traced: jax.stages.Traced) -> int:
  """Memory of one device that a step needs; compiles it.

  Args:
    traced: the step.

  Raises:
    JaxRuntimeError: it does not compile, for another reason than memory.
  """
  try:
    compiled, _ = _compile(traced)
  except jax.errors.JaxRuntimeError as error:
    full = _read_full(error)
    if full is None:
      raise
    return full[0]
  return whole_memory(compiled.memory_analysis())


def whole_memory(memory: Any) -> int:
  """Bytes of a program with its arguments and results.

  Args:
    memory: `compiled.memory_analysis()`.
  """
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    + memory.temp_size_in_bytes
    - memory.alias_size_in_bytes
  )


def format_memory(memory: Any) -> str:
  """Bytes of a program and of its parts; see `whole_memory`."""
  return (
    f"{megabytes(whole_memory(memory))}: arguments"
    f" {megabytes(memory.argument_size_in_bytes)}, outputs"
    f" {megabytes(memory.output_size_in_bytes)}, of these in the place of"
    f" arguments {megabytes(memory.alias_size_in_bytes)}, temporaries"
    f" {megabytes(memory.temp_size_in_bytes)}"
  )


def megabytes(nbytes: float) -> str:
  """Text of a number of bytes; MB are 10^6."""
  return f"{nbytes / 1e6:,.3f} MB"
