"""The compiled programs of a run on its mesh: a step of each phase."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
import optax
from flax import linen as nn

from u2pl_jax.data import supply as supply_lib
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import pictures
from u2pl_jax.runtime import memory, sharding
from u2pl_jax.training import train_state, train_step


@dataclasses.dataclass(frozen=True)
class Programs:
  """What a run computes.

  Attributes:
    model: the network.
    tx: the optimizer.
    phases: of the method, in order; the first begins at step 0.
    mesh: of all devices.
    seed: fixes everything random.
    accumulate_steps: parts that a batch is computed in.
  """

  model: nn.Module
  tx: optax.GradientTransformation
  phases: tuple[method_lib.Phase, ...]
  mesh: jax.sharding.Mesh
  seed: int
  accumulate_steps: int

  @property
  def supply(self) -> supply_lib.Supply:
    """What the batches of all phases hold."""
    return supply_lib.of_run(phase.supply for phase in self.phases)

  def phase_at(self, index: int) -> method_lib.Phase:
    """The phase of the update after `index` others."""
    return [phase for phase in self.phases if phase.first_step <= index][-1]

  def phase_of_state(self, step: int) -> method_lib.Phase:
    """The phase that a state after `step` updates belongs to."""
    return self.phase_at(max(step - 1, 0))

  def create_state(self) -> train_state.TrainState:
    """The state at step 0, laid out over the mesh."""
    initialize = jax.jit(
      self._initialize, out_shardings=self._layout(self.phases[0])
    )
    return initialize(self._state_key())

  def adopt(
    self, state: train_state.TrainState, remembered: Mapping[str, np.ndarray]
  ) -> train_state.TrainState:
    """The state at step 0 with what a file of weights remembers.

    Args:
      state: at step 0.
      remembered: see `Method.adopt`.
    """
    phase = self.phases[0]
    adopt = jax.jit(
      lambda memory: phase.method.adopt(memory, remembered),
      out_shardings=self._layout(phase).memory,
    )
    return state.replace(memory=adopt(state.memory))

  def abstract_state(self, phase: method_lib.Phase) -> train_state.TrainState:
    """Shapes, dtypes and shardings of a phase's state; nothing is computed."""
    return self._abstract_states[phase.name]

  @functools.cached_property
  def _abstract_states(self) -> dict[str, train_state.TrainState]:
    """Of all phases; traced once, which takes seconds for a large network."""
    states, key = {}, jax.random.key(0)
    state = jax.eval_shape(self._initialize, key)
    for phase in self.phases:
      if states:
        begin = functools.partial(train_state.begin_phase, phase=phase)
        state = jax.eval_shape(begin, state, key=key)
      states[phase.name] = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(
          leaf.shape, leaf.dtype, sharding=where
        ),
        state,
        train_state.lay_out(state, phase, self.mesh),
      )
    return states

  def create_train_step(self) -> Callable:
    """step(index, state, batch) -> (state, metrics) with `state` donated.

    `index` is the number of updates made before, on the host. It picks the
    program of its phase, each compiled once, and as a phase begins has the
    method's memory made for it. (A `lax.cond` around both would run its
    branches on a single core on CPUs.)
    """
    compiled = {}
    whole = sharding.replicate(self.mesh)
    base_rng = jax.jit(self._base_rng, out_shardings=whole)()

    def step(index, state, batch):
      phase = self.phase_at(index)
      with jax.set_mesh(self.mesh):
        if index == phase.first_step > 0:
          state = self._begin(phase, state)
        arguments = state, batch, base_rng
        if phase.name not in compiled:
          lowered = self._jit_step(phase).lower(*arguments)
          compiled[phase.name] = lowered.compile()
          # Before the step takes memory of its own.
          memory.release_free()
        return compiled[phase.name](*arguments)

    return step

  def create_illustrate(
    self, phase: method_lib.Phase
  ) -> Callable[..., tuple[pictures.Group, ...]]:
    """illustrate(state, batch) -> groups of pictures; nothing is learned.

    Args:
      phase: that the state belongs to.

    Returns:
      A function of the state before a step, and of the step's batch. Its
      pictures are those of `Method.illustrate`, numpy arrays; images are uint8.
    """
    lesson_of = train_step.make_lesson(
      self.model, phase.method, accumulate_steps=self.accumulate_steps
    )

    def draw(state, batch, base_rng):
      groups = phase.method.illustrate(*lesson_of(state, batch, base_rng))
      return pictures.with_levels(groups, self.model.denormalize)

    whole, layout = sharding.replicate(self.mesh), self._layout(phase)
    compiled = jax.jit(
      draw,
      in_shardings=(layout, sharding.split_batch(self.mesh), whole),
      out_shardings=whole,
    )
    base_rng = jax.jit(self._base_rng, out_shardings=whole)()

    def illustrate(state, batch):
      with jax.set_mesh(self.mesh):
        return jax.device_get(compiled(state, batch, base_rng))

    return illustrate

  def trace_steps(
    self, batch_shapes: Mapping[str, jax.ShapeDtypeStruct]
  ) -> Iterator[tuple[str, jax.stages.Traced]]:
    """The step of each phase with its name, to be compiled ahead of time.

    Nothing is computed; the mesh may be of devices that are not there.

    Args:
      batch_shapes: of a global batch, by the names of its arrays.
    """
    split = sharding.split_batch(self.mesh)
    batch = {
      name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=split)
      for name, array in batch_shapes.items()
    }
    # Both make a key, which devices that are not there cannot.
    rng, states = jax.eval_shape(self._base_rng), self._abstract_states
    for phase in self.phases:
      with jax.set_mesh(self.mesh):
        step = self._jit_step(phase).trace(states[phase.name], batch, rng)
      yield phase.name, step

  def _state_key(self) -> jax.Array:
    return jax.random.key(self.seed)

  def _base_rng(self) -> jax.Array:
    return jax.random.fold_in(self._state_key(), 1)

  def _initialize(self, key: jax.Array) -> train_state.TrainState:
    return train_state.create_train_state(
      key, self.model, self.tx, self.phases[0]
    )

  def _layout(self, phase: method_lib.Phase) -> train_state.TrainState:
    state = self.abstract_state(phase)
    return jax.tree.map(lambda leaf: leaf.sharding, state)

  def _begin(
    self, phase: method_lib.Phase, state: train_state.TrainState
  ) -> train_state.TrainState:
    """The state with the memory that a phase begins with."""
    begin = jax.jit(
      functools.partial(train_state.begin_phase, phase=phase),
      out_shardings=self._layout(phase),
      donate_argnums=0,
    )
    return begin(state, key=self._state_key())

  def _jit_step(self, phase: method_lib.Phase) -> Callable:
    """step(state, batch, base_rng) for the mesh, `state` donated."""
    step = train_step.make_step(
      self.model,
      self.tx,
      phase.method,
      accumulate_steps=self.accumulate_steps,
    )
    whole, layout = sharding.replicate(self.mesh), self._layout(phase)
    return jax.jit(
      step,
      in_shardings=(layout, sharding.split_batch(self.mesh), whole),
      out_shardings=(layout, whole),
      donate_argnums=0,
    )
