"""What a run teaches its student from: the lessons of a few steps."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from u2pl_jax import experiment
from u2pl_jax.experiment import inputs, states
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import pictures
from u2pl_jax.runtime import command_line, sharding
from u2pl_jax.runtime import workdir as workdir_lib


@dataclasses.dataclass(frozen=True)
class Images:
  """Images of one kind.

  Attributes:
    group: their pictures, numpy arrays [N, ...].
    names: [N], the ids of the images.
  """

  group: pictures.Group
  names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Lessons:
  """The lessons of consecutive steps.

  Attributes:
    config: of the run.
    workdir: of the run.
    saved: the step of the checkpoint whose networks teach.
    steps: the first and the last step of the batches, from 1 on.
    phase: the name of the phase they belong to.
    class_names: [K].
    palette: [K] RGB.
    images: one member for each kind.
  """

  config: Mapping[str, Any]
  workdir: epath.Path
  saved: int
  steps: tuple[int, int]
  phase: str
  class_names: tuple[str, ...]
  palette: tuple[tuple[int, int, int], ...]
  images: tuple[Images, ...]


def collect(
  workdir: epath.PathLike,
  which: str,
  *,
  count: int,
  step: int | None = None,
  data_dir: str | None = None,
) -> Lessons:
  """The lessons that a checkpoint would give in the steps that follow it.

  Batches, crops, boxes, and all that is random are those that training had in
  these steps, but for images that a method chooses as it trains; nothing is
  learned meanwhile. At the end of the run they are those of the last steps.

  Args:
    workdir: of the run.
    which: "best" or "last" checkpoint.
    count: how many images of each kind, at most.
    step: the first step, from 1 on; None for the one after the checkpoint.
    data_dir: where the dataset is; None for where it was in training.

  Raises:
    OSError: there is no such run, checkpoint or dataset; one line.
    ValueError: a file is damaged, the data are others, or the step is of
      another phase than the checkpoint; one line.
  """
  if count < 1:
    raise ValueError(f"--count={count}: must be >= 1")
  workdir = epath.Path(workdir)
  exp = _open(workdir, data_dir)
  saved, phase, state, *_ = states.read_checkpoint(exp, workdir, which)
  indices = _choose_steps(exp, phase, saved, step, count)
  illustrate = exp.programs.create_illustrate(phase)
  batches = inputs.train_batches(exp, indices[0])
  if exp.programs.supply.is_requested:
    asked = exp.programs.phases[0].method.requests(state.memory)
    for row, index in enumerate(indices):
      batches.ask(
        index, {name: np.asarray(a[row]) for name, a in asked.items()}
      )
  found = []
  for index in indices:
    now = jax.device_put(np.int32(index), state.step.sharding)
    batch = sharding.to_global(next(batches), exp.mesh)
    found.append(illustrate(state.replace(step=now), batch))
  joined = jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *found)
  return Lessons(
    config=exp.config,
    workdir=workdir,
    saved=saved,
    steps=(indices[0] + 1, indices[-1] + 1),
    phase=phase.name,
    class_names=exp.dataset.class_names,
    palette=exp.dataset.palette,
    images=tuple(
      Images(group, _name(exp, group, indices)[:count]) for group in joined
    ),
  )


def _open(workdir: epath.Path, data_dir: str | None) -> experiment.Experiment:
  """The run, on one device, which is enough for a few images."""
  config = workdir_lib.read_config(workdir)
  if not workdir_lib.holds_checkpoint(workdir):
    raise FileNotFoundError(
      f"{workdir / 'checkpoints'} holds no checkpoint, as none was saved yet"
    )
  config |= {"mesh": (1, 1)}
  if data_dir is not None:
    config["data"] = {**config["data"], "data_dir": data_dir}
  with command_line.offering_data_dir():
    return experiment.create_experiment(config, devices=jax.local_devices()[:1])


def _choose_steps(
  exp: experiment.Experiment,
  phase: method_lib.Phase,
  saved: int,
  step: int | None,
  count: int,
) -> range:
  """The updates, counted from 0, whose batches are shown.

  Raises:
    ValueError: `step` is of another phase; one line.
  """
  programs, begin = exp.programs, phase.first_step
  starts = (other.first_step for other in programs.phases)
  end = min(
    (start for start in starts if start > begin),
    default=exp.timeline.total_steps,
  )
  if step is not None and not begin < step <= end:
    raise ValueError(
      f"--step={step}: the checkpoint of step {saved} belongs to the phase"
      f" {phase.name!r}; name one of its steps, {begin + 1} to {end}"
    )
  sizes = [exp.data.batch_size_l]
  if phase.uses_unlabeled:
    sizes.append(exp.data.batch_size_u)
  number = math.ceil(count * exp.optim.accumulate_steps / min(sizes))
  if programs.supply.is_requested:
    number = min(number, programs.supply.lag + 1)  # More are not known yet.
  first = min(saved, end - 1) if step is None else step - 1
  first = max(min(first, end - number), begin)
  return range(first, min(first + number, end))


def _name(
  exp: experiment.Experiment, group: pictures.Group, indices: range
) -> tuple[str, ...]:
  """The ids of the images of a group, step after step."""
  if not group.source:
    count = len(group.pictures[0].values) * len(indices)
    return tuple(f"image {number}" for number in range(1, count + 1))
  names = []
  for index in indices:
    ids = inputs.ids_at_step(exp, index)
    names += ids[group.source][:: exp.optim.accumulate_steps]
  return tuple(names)
