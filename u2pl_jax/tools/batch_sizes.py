"""Batches that choose their size, by the memory that their steps take.

With `data.batch_size=auto` a step has as many images as fit, labeled and
unlabeled ones in the proportion of the config, at most 4 times as many as that
says: the rules by which the learning rate follows (`optim.scale_rate`) are not
known to hold far beyond, without a warm-up. With `data.batch_size=parts` the
batch stays as it is, and is computed in as few parts as fit
(`optim.accumulate_steps`). What a step takes is what its compiler says.
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from u2pl_jax import experiment
from u2pl_jax.data import datasets
from u2pl_jax.data import options as data_options
from u2pl_jax.runtime import devices, distributed, forecast, topology
from u2pl_jax.runtime import workdir as workdir_lib
from u2pl_jax.training import fit, optim

_CHOSEN = (
  "data.batch_size_l",
  "data.batch_size_u",
  "optim.learning_rate",
  "optim.accumulate_steps",
)
_MOST_TIMES = 4  # As many images as the config says.

Opened = tuple[datasets.Dataset, datasets.Split]


@dataclasses.dataclass(frozen=True)
class Proposal:
  """Settings with which a run fits, and what its largest step then takes.

  Attributes:
    settings: "section.name" -> value.
    need: bytes of each device.
  """

  settings: Mapping[str, Any]
  need: int


class Sizes:
  """What steps of a config take at other sizes; each is compiled once."""

  def __init__(
    self,
    config: Mapping[str, Any],
    limit: int,
    mesh_devices: tuple[jax.Device, ...] | None = None,
    opened: Opened | None = None,
  ):
    """Takes the config that the sizes are to differ from.

    Args:
      config: the whole config, nested.
      limit: bytes of each device.
      mesh_devices: of the mesh; by default those of all processes.
      opened: see `experiment.create_experiment`.
    """
    self._config = config
    self._limit = limit
    self._arguments = {"devices": mesh_devices, "opened": opened}
    self._data = data_options.DataOptions.read(config)
    self._optim = optim.OptimOptions.read(config)

  def largest_batch(self) -> Proposal:
    """As many images as fit, with their learning rate.

    Raises:
      ValueError: not even the smallest batch fits; one line.
    """
    data = self._data
    common = math.gcd(data.batch_size_l, data.batch_size_u)
    per_share = data.batch_size_l // common, data.batch_size_u // common
    needs = {}

    def settings(shares: int) -> dict[str, Any]:
      times = shares / common
      return {
        "data.batch_size_l": shares * per_share[0],
        "data.batch_size_u": shares * per_share[1],
        "optim.learning_rate": optim.scale_rate(self._optim, times),
      }

    def need(shares: int) -> int:
      needs[shares] = self._need(settings(shares))
      return needs[shares]

    most = _MOST_TIMES * common
    unit = self._find_unit(settings, most)
    sizes = range(unit, max(most, unit) + 1, unit)
    chosen = fit.largest(sizes, need, self._limit)
    if chosen is None:
      least, size = needs[unit], settings(unit)
      raise ValueError(
        f"data.batch_size=auto: even {size['data.batch_size_l']} labeled and"
        f" {size['data.batch_size_u']} unlabeled images a step take"
        f" {forecast.megabytes(least)} of {forecast.megabytes(self._limit)} of"
        " a device; use a smaller data.crop_size or network, or"
        " model.remat=blocks"
      )
    return Proposal(settings(chosen), needs[chosen])

  def fewest_parts(self) -> Proposal:
    """The batch of the config, in as few parts as fit.

    Raises:
      ValueError: not even the smallest parts fit; one line.
    """
    images = math.gcd(self._data.batch_size_l, self._data.batch_size_u)
    error, least = None, math.inf
    for parts in (n for n in range(1, images + 1) if images % n == 0):
      settings = {"optim.accumulate_steps": parts}
      try:
        need = self._need(settings)
      except ValueError as unfit:  # Parts that a method cannot have.
        error = error or unfit
        continue
      if need <= self._limit:
        return Proposal(settings, need)
      least = min(least, need)
    if math.isinf(least):
      raise error
    raise ValueError(
      f"data.batch_size=parts: in the smallest parts a step takes"
      f" {forecast.megabytes(least)} of {forecast.megabytes(self._limit)} of a"
      " device; use a smaller data.crop_size or network, or model.remat=blocks"
    )

  def _find_unit(
    self, settings: Callable[[int], Mapping[str, Any]], most: int
  ) -> int:
    """Shares that devices and method can take; so they can its multiples."""
    num_devices = len(self._arguments["devices"] or jax.devices())
    unit, error = num_devices * self._optim.accumulate_steps, None
    while error is None or unit <= most:
      try:
        self._create(settings(unit))
        return unit
      except ValueError as unfit:  # A method needs more images in a group.
        unit, error = 2 * unit, unfit
    raise error

  def _create(self, settings: Mapping[str, Any]) -> experiment.Experiment:
    changed = change(self._config, settings)
    return experiment.create_experiment(changed, **self._arguments)

  def _need(self, settings: Mapping[str, Any]) -> int:
    """Bytes of the largest step of a run with other settings."""
    exp = self._create(settings)
    batch = exp.data.batch_shapes(exp.programs.supply)
    steps = exp.programs.trace_steps(batch)
    return max(forecast.needed_bytes(traced) for _, traced in steps)


def change(
  config: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
  """A copy of a nested config with some "section.name" set."""
  changed = copy.deepcopy(dict(config))
  for key, value in settings.items():
    section, name = key.split(".")
    changed[section][name] = value
  return changed


def resolve(
  config: Mapping[str, Any],
  workdir: epath.PathLike | None,
) -> dict[str, Any]:
  """The config of a run with the sizes that it asks to be chosen.

  A run that has a checkpoint goes on with those that it began with.

  Args:
    config: the whole config, nested.
    workdir: of the run; None or "" for none.

  Raises:
    ValueError: nothing fits, or a setting is wrong; one line.
  """
  asked = config["data"]["batch_size"]
  if asked not in data_options.BATCH_SIZES[1:]:
    return dict(config)
  if workdir and workdir_lib.holds_checkpoint(epath.Path(workdir)):
    saved = workdir_lib.flatten(workdir_lib.read_config(epath.Path(workdir)))
    return change(config, {key: saved[key] for key in _CHOSEN})
  sizes = Sizes(config, _limit())
  found = sizes.largest_batch() if asked == "auto" else sizes.fewest_parts()
  distributed.show(f"data.batch_size={asked}: {describe(found)}")
  return change(config, found.settings)


def rehearse(
  config: Mapping[str, Any],
  topology_name: str | None = None,
  opened: Opened | None = None,
) -> dict[str, Any]:
  """As `resolve`, of a dry run: says both what fits at once and in parts.

  Args:
    config: the whole config, nested.
    topology_name: of accelerators that need not be there; None for the devices
      at hand.
    opened: see `experiment.create_experiment`.

  Raises:
    ValueError: what the config asks for does not fit; one line.
  """
  asked = config["data"]["batch_size"]
  if asked not in data_options.BATCH_SIZES[1:]:
    return dict(config)
  target = topology.create(topology_name) if topology_name else None
  limit = int(target.chip.memory * target.chip.usable) if target else _limit()
  sizes = Sizes(config, limit, target and target.devices, opened)
  distributed.show(f"sizes for {forecast.megabytes(limit)} of a device")
  found = {}
  for word, find in (
    ("auto", sizes.largest_batch),
    ("parts", sizes.fewest_parts),
  ):
    try:
      found[word] = find()
    except ValueError as error:
      if word == asked:
        raise
      distributed.show(f"  none: {error}")
    else:
      distributed.show(f"  {word:8}{describe(found[word])}")
  return change(config, found[asked].settings)


def describe(found: Proposal) -> str:
  """Settings, and what they take, in a line."""
  settings = " ".join(
    f"--config.{key}={value:g}" for key, value in found.settings.items()
  )
  return f"{settings} take {forecast.megabytes(found.need)} of a device"


def _limit() -> int:
  """Bytes that each device at hand has left; the same on every process."""
  limit = devices.free_bytes()
  if jax.process_count() > 1:
    # Of float32, as integers of 64 bits are not there.
    everywhere = multihost_utils.process_allgather(np.float32(limit))
    limit = int(everywhere.min())
  return limit
