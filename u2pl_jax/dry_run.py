"""Compiles a run's programs and says what they take, without running them.

Nothing is allocated on the devices and nothing is written. MB are 10^6 bytes.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax

from u2pl_jax import experiment
from u2pl_jax.data import datasets
from u2pl_jax.models import costs, network
from u2pl_jax.runtime import (
  collectives,
  distributed,
  forecast,
  sharding,
  topology,
)
from u2pl_jax.training import fit, train_state

PyTree = Any
_LARGEST = 6  # Arrays shown of each sort.
_mb = forecast.megabytes


def report(
  config: Mapping[str, Any],
  topology_name: str | None = None,
  opened: tuple[datasets.Dataset, datasets.Split] | None = None,
) -> None:
  """Prints what a run of this config would be, once for all processes.

  Args:
    config: the whole config, nested.
    topology_name: of accelerators that need not be there, see
      `runtime.topology`; None for the devices at hand.
    opened: the dataset and its split, where they are not to be opened.

  Raises:
    ValueError, OSError, ImportError: one line that names the key, flag or
      file; at the end, if the run does not fit.
  """
  target = topology.create(topology_name) if topology_name else None
  devices = target and target.devices
  exp = experiment.create_experiment(config, devices=devices, opened=opened)
  if opened:
    distributed.show(f"dataset     {exp.dataset.name} as published, not there")
  for line in describe(exp, target):
    distributed.show(line)


def describe(
  exp: experiment.Experiment, target: topology.Topology | None = None
) -> Iterator[str]:
  """Lines on the run, its state, and each program as soon as it is compiled.

  Args:
    exp: the run, on a mesh of the target's devices where there is one.
    target: None for the devices at hand.

  Raises:
    ValueError: at the end; a step takes more memory than a device has.
  """
  state = exp.programs.abstract_state(exp.programs.phases[-1])
  yield from describe_run(exp)
  yield from describe_state(state)
  yield from describe_network(exp.model, exp.data.crop_size)
  shapes = parameter_dimensions(state.student["params"])
  batch = exp.data.batch_shapes(exp.programs.supply)
  too_large = []
  for name, traced in exp.programs.trace_steps(batch):
    yield ""
    if target is None:
      yield from describe_program(name, traced, shapes)
      continue
    found = forecast.Forecast(name, traced, target, exp.mesh.size)
    yield from found.describe()
    if found.text is not None:
      yield from describe_collectives(collectives.parse(found.text), shapes)
    if not found.fits:
      too_large.append(name)
      yield from _suggest(exp, name, found)
  if too_large:
    raise ValueError(
      f"--topology={target.name}: the memory of {target.chip.name} is too"
      f" small for the {' and the '.join(too_large)} step; see above what would"
      " make it fit"
    )


def _suggest(
  exp: experiment.Experiment, name: str, found: forecast.Forecast
) -> Iterator[str]:
  """Lines on settings that would make a step fit."""
  (phase,) = (each for each in exp.programs.phases if each.name == name)
  model, data = exp.config["model"], exp.data
  sizes = (data.batch_size_l,) + (data.batch_size_u,) * phase.uses_unlabeled
  parts = exp.optim.accumulate_steps
  step = fit.Footprint(
    need=found.need,
    state=bytes_per_device(exp.programs.abstract_state(phase)),
    devices=exp.mesh.size,
    fsdp=exp.mesh.shape[sharding.FSDP_AXIS],
    dtype=model["dtype"],
    remat=model["remat"],
    images=tuple(size // (exp.mesh.size * parts) for size in sizes),
    parts=parts,
  )
  yield "  to make it fit, estimates, each on top of those before"
  suggested = fit.suggest(step, found.limit)
  for setting, need in suggested:
    yield f"    --config.{setting:32}{_mb(need):>18}"
  if not suggested or suggested[-1][1] > found.limit:
    yield "    more devices, smaller data.batch_size_* or data.crop_size"


def describe_run(exp: experiment.Experiment) -> Iterator[str]:
  """Lines on devices, data and steps."""
  data, timeline = exp.data, exp.timeline
  axes = ", ".join(f"{axis} {size}" for axis, size in exp.mesh.shape.items())
  yield (
    f"devices     {exp.mesh.size} x {exp.mesh.devices.flat[0].device_kind}"
    f" ({axes}) of {_num_hosts(exp.mesh)} process(es)"
  )
  each = str(data.batch_size_l)
  if exp.uses_unlabeled:
    each += f" + {data.batch_size_u}"
  yield (
    f"data        {len(exp.split.labeled):,} labeled,"
    f" {len(exp.split.unlabeled):,} unlabeled images; {each} a step"
  )
  begun = exp.programs.phases
  ends = [phase.first_step for phase in begun[1:]]
  phases = ", ".join(
    f"{end - phase.first_step:,} {phase.name}"
    for phase, end in zip(begun, [*ends, timeline.total_steps])
  )
  yield (
    f"steps       {timeline.steps_per_epoch:,} batches an epoch,"
    f" {timeline.num_epochs:,} epochs: {timeline.total_steps:,}, {phases}"
  )


def _num_hosts(mesh: jax.sharding.Mesh) -> int:
  return len({device.process_index for device in mesh.devices.flat})


def describe_state(state: train_state.TrainState) -> Iterator[str]:
  """Lines on parameters and on the bytes of the state on each device.

  Args:
    state: shapes with shardings.
  """
  params = state.student["params"]
  total, encoder = _count(params), _count(params["encoder"])
  yield (
    f"parameters  {total:,}: encoder {encoder:,}, rest {total - encoder:,}"
  )
  parts = {
    "student": (state.params, state.batch_stats),
    "optimizer": state.opt_state,
  }
  if state.frozen is not None:
    parts["frozen"] = state.frozen
  if state.memory is not None:
    for field in dataclasses.fields(state.memory):
      parts[field.name] = getattr(state.memory, field.name)
  each = ", ".join(
    f"{name} {_mb(bytes_per_device(part))}" for name, part in parts.items()
  )
  yield f"state       {_mb(bytes_per_device(state))} a device: {each}"


def describe_network(
  model: network.Network, size: tuple[int, int]
) -> Iterator[str]:
  """Lines on what a forward pass of one image in train mode costs."""
  yield f"an image    of {size[0]} x {size[1]} px, one forward pass"
  for part, cost in costs.of_parts(model, size).items():
    scores = ""
    if cost.scores_bytes:
      scores = f", of these weights of attention {_mib(cost.scores_bytes)}"
    billions = cost.macs / 1e9
    yield (
      f"  {part:10}{2 * billions:,.2f} GFLOP ({billions:,.2f} GMAC), keeps"
      f" {_mib(cost.kept_bytes)} for the backward pass{scores}"
    )


def _mib(nbytes: int) -> str:
  return f"{nbytes / 2**20:,.1f} MiB"


def describe_program(
  name: str,
  traced: jax.stages.Traced,
  parameter_dims: Collection[tuple[int, ...]],
) -> Iterator[str]:
  """Compiles a step, and yields lines on its work, memory and collectives.

  Args:
    name: of the step.
    traced: the step.
    parameter_dims: see `parameter_dimensions`.
  """
  started = time.monotonic()
  compiled = traced.lower().compile()
  yield f"{name} step, compiled in {time.monotonic() - started:.1f} s; a device"
  # The compiler does not multiply by the length of loops.
  flops = compiled.cost_analysis().get("flops", math.nan)
  yield f"  computes  {flops / 1e9:,.3f} GFLOP, the body of a loop counted once"
  yield f"  needs     {forecast.format_memory(compiled.memory_analysis())}"
  found = collectives.parse(compiled.as_text())
  yield from describe_collectives(found, parameter_dims)


def describe_collectives(
  found: Sequence[collectives.Collective],
  parameter_dims: Collection[tuple[int, ...]],
) -> Iterator[str]:
  """A table of what is sent by kind, and the largest arrays.

  Args:
    found: of one program.
    parameter_dims: see `parameter_dimensions`.
  """
  if not found:
    yield "  sends     nothing"
    return
  times, sent = collections.Counter(), collections.Counter()
  arrays = {True: [], False: []}
  for collective in found:
    times[collective.kind] += collective.count
    for array in collective.arrays:
      ours = collectives.is_of_parameters(
        collective.kind, array, parameter_dims
      )
      sent[collective.kind, ours] += collective.count * array.nbytes
      arrays[ours].append((collective, array))
  yield f"  {'sends':24}{'times':>8}{'parameters':>16}{'all else':>16}"
  for kind in filter(times.get, collectives.KINDS):
    yield _row(kind, times[kind], sent[kind, True], sent[kind, False])
  yield _row(
    "together",
    times.total(),
    *(sum(sent[kind, ours] for kind in times) for ours in (True, False)),
  )
  if not all(collective.count_is_known for collective in found):
    yield "    of loops of unknown length one iteration"
  for ours, title in ((True, "parameters"), (False, "all else")):
    yield f"  largest of {title}"
    yield from _largest(arrays[ours])


def _row(kind: str, times: int, of_parameters: int, of_others: int) -> str:
  return f"    {kind:22}{times:8,}{_mb(of_parameters):>16}{_mb(of_others):>16}"


def _largest(
  arrays: Sequence[tuple[collectives.Collective, collectives.Array]],
) -> Iterator[str]:
  """The arrays that take most in one step; equal ones together."""
  times = collections.Counter()
  for collective, array in arrays:
    times[collective.kind, array] += collective.count

  def nbytes(item):
    (_, array), count = item
    return array.nbytes * count

  for (kind, array), count in sorted(times.items(), key=nbytes)[::-1][
    :_LARGEST
  ]:
    yield (
      f"    {_mb(array.nbytes * count):>12} {kind:18} {count} x {array}"
      f" {array.op_name}"
    )


def parameter_dimensions(params: PyTree) -> set[tuple[int, ...]]:
  """`collectives.dimensions` of the parameters, whole and in parts.

  Args:
    params: shapes with shardings.
  """
  found = set()
  for leaf in jax.tree.leaves(params):
    for shape in (leaf.shape, leaf.sharding.shard_shape(leaf.shape)):
      found.add(collectives.dimensions(shape))
      # CPUs sum the gradients of dilated kernels tap by tap.
      found.add(collectives.dimensions(shape[-2:]))
  return found


def bytes_per_device(tree: PyTree) -> int:
  """Bytes of the part of each array that one device holds.

  Args:
    tree: of shapes with shardings; None holds nothing.
  """
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def _count(tree: PyTree) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
