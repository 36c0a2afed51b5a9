"""A training step, compiled and called as a run does it."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import arrays
from benchmarks.ours import banks, common
from u2pl_jax.data import options as data_options
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.models import network
from u2pl_jax.runtime import flops, sharding
from u2pl_jax.training import assemble, train_step
from u2pl_jax.training import options as training_options

# As long as an epoch of some thousand images; no program depends on it.
_STEPS_PER_EPOCH = 1000


def make(settings: dict[str, Any]) -> "_Step":
  """See `benchmark_worker`.

  Args:
    settings: config, nested; num_classes; phase, its name or "last";
      banks, "full" or "empty"; num_present, classes in the labels; seed.

  Raises:
    ValueError: one line that names a key or flag.
  """
  return _Step(settings)


class _Step:
  def __init__(self, settings):
    config = settings["config"]
    # One device: what each of many would do.
    self._mesh = sharding.create_mesh((1, 1), jax.devices()[:1])
    train = training_options.TrainOptions.read(config)
    self._programs = assemble.create_programs(
      config,
      [str(number) for number in range(settings["num_classes"])],
      settings["config"]["data"]["batch_size_u"],
      timeline_lib.Timeline(_STEPS_PER_EPOCH, train.epochs),
      self._mesh,
    )
    self._phase = _find_phase(self._programs.phases, settings["phase"])
    batch = _make_batch(self._phase, settings)
    self.images = sum(
      len(batch[name])
      for name in ("image_l", "image_u", "image_u2")
      if name in batch
    )
    self._batch = sharding.to_global(batch, self._mesh)
    self._dtype = network.ModelOptions.read(config).dtype
    self._fills = settings["banks"] == "full"
    self._seed = settings["seed"]
    self._step = self._programs.create_train_step()
    self._index = self._phase.first_step
    state = self._programs.create_state()
    self._state = state.replace(step=jnp.full_like(state.step, self._index))

  def run(self, calls: int) -> None:
    for _ in range(calls):
      self._state, metrics = self._step(self._index, self._state, self._batch)
      if self._index == self._phase.first_step and self._fills:
        # Only now there is a bank.
        self._state = banks.fill_state(self._state, self._seed)
      self._index += 1
    jax.block_until_ready((self._state, metrics))

  def describe(self) -> dict[str, Any]:
    programs = self._programs
    step = train_step.make_step(
      programs.model,
      programs.tx,
      self._phase.method,
      accumulate_steps=programs.accumulate_steps,
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = programs.abstract_state(self._phase)
    return common.describe(
      dtype=self._dtype,
      flops=flops.count(step, state, self._batch, key),
      shapes=common.shapes_of(self._batch),
    )


def _find_phase(phases, name):
  """The phase of that name, or the last one of the run."""
  found = {phase.name: phase for phase in phases} | {"last": phases[-1]}
  if name not in found:
    raise ValueError(
      f"--phase={name}: a run of this config has only {', '.join(found)}"
    )
  return found[name]


def _make_batch(phase, settings):
  """As the phase asks for it, on the host."""
  batch = arrays.make_step(settings | {"uses_unlabeled": phase.uses_unlabeled})
  data = data_options.DataOptions.read(settings["config"])
  shapes = data.batch_shapes(phase.supply)
  # In their order, by which numbers are drawn.
  missing = {name: shapes[name] for name in shapes if name not in batch}
  return batch | arrays.make_rest(missing, settings)
