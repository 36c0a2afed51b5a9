"""One training step, the same for every method.

The method says what the student sees and how it is measured; here are random
numbers, the student's passes and gradient, accumulation, the optimizer, and
the guard against steps that went wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from u2pl_jax.methods import method as method_lib
from u2pl_jax.models import forward
from u2pl_jax.training import accumulate, quality, train_state
from u2pl_jax.training import frozen as frozen_lib

PyTree = Any
Step = Callable[
  [train_state.TrainState, method_lib.Batch, jax.Array],
  tuple[train_state.TrainState, method_lib.Metrics],
]


def make_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  method: method_lib.Method,
  *,
  accumulate_steps: int = 1,
) -> Step:
  """A step of one phase.

  Args:
    model: the network.
    tx: the optimizer.
    method: of the phase.
    accumulate_steps: parts that a batch is computed in.

  Returns:
    step(state, batch, base_rng) -> (state, metrics). Metrics are `loss/NAME`
    of each loss, `loss/total`, `grad/norm` and those of the method, scalars or
    [K], and `quality.measure` where a batch holds the truth about unlabeled
    images, which changes nothing else. Where loss or gradient is not finite the
    state counts on and is otherwise the same.
  """

  def step(state, batch, base_rng):
    def compute(running, part, keys):
      batch_stats, memory = running
      part, truth = quality.set_aside(part)
      now = state.replace(batch_stats=batch_stats, memory=memory)
      lesson, memory, student, frozen, metrics = _teach(
        model, method, now, part, keys
      )
      running, grads, learned = _learn(
        model, method, student, frozen, memory, lesson, truth, keys["student"]
      )
      return running, (grads, learned | metrics)

    running, grads, metrics = accumulate.accumulate(
      compute,
      (state.batch_stats, state.memory),
      batch,
      _keys(base_rng, state.step),
      accumulate_steps,
    )
    metrics["grad/norm"] = optax.tree.norm(grads)
    after = _descend(state, tx, grads, *running)
    memory, followed = method.follow(
      frozen_lib.complete(after.memory, state.frozen), after.student, state.step
    )
    memory = frozen_lib.reduce(memory, state.frozen)
    checked = jnp.stack([metrics["loss/total"], metrics["grad/norm"]])
    is_bad = ~jnp.all(jnp.isfinite(checked))
    after = _unless_bad(state, after.replace(memory=memory), is_bad, method)
    return after, metrics | followed

  return step


def make_lesson(
  model: nn.Module, method: method_lib.Method, *, accumulate_steps: int = 1
) -> Callable[..., tuple[method_lib.Batch, method_lib.Lesson]]:
  """What a step is about to teach, without a step.

  Args:
    model: the network.
    method: of the phase.
    accumulate_steps: as in `make_step`.

  Returns:
    lesson(state, batch, base_rng) -> (batch, lesson). The lesson is that with
    which the step of the same arguments judges the student, the batch what the
    method saw of it; of a batch that is computed in parts, of the first one.
  """

  def lesson_of(state, batch, base_rng):
    keys = _keys(base_rng, state.step)
    batch, keys = accumulate.first_part(batch, keys, accumulate_steps)
    batch, _ = quality.set_aside(batch)
    lesson, memory, student, frozen, _ = _teach(
      model, method, state, batch, keys
    )
    outputs, _ = _see(model, student, frozen, lesson.views, keys["student"])
    lesson, _, _ = method.observe(memory, outputs, lesson)
    return batch, lesson

  return lesson_of


def _keys(base_rng: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
  """Named random keys that depend on the step alone, so resume is exact."""
  streams = method_lib.STREAMS
  keys = jax.random.split(jax.random.fold_in(base_rng, step), len(streams))
  return dict(zip(streams, keys, strict=True))


def _teach(
  model: nn.Module,
  method: method_lib.Method,
  state: train_state.TrainState,
  batch: method_lib.Batch,
  keys: Mapping[str, jax.Array],
) -> tuple[
  method_lib.Lesson,
  method_lib.Memory,
  dict[str, PyTree],
  frozen_lib.Frozen,
  method_lib.Metrics,
]:
  """The lesson of a batch, the memory, and the student that is to learn it.

  The student comes in two: what is trained of it, and what is frozen.
  """
  memory = frozen_lib.complete(state.memory, state.frozen)
  student = state.student
  lesson, memory, metrics = method.teach(
    memory, student, batch, keys, state.step
  )
  if lesson.batch_stats is not None:
    student["batch_stats"] = lesson.batch_stats
  student, frozen = frozen_lib.split(student, model.frozen)
  return lesson, memory, student, frozen, metrics


def _learn(
  model: nn.Module,
  method: method_lib.Method,
  student: Mapping[str, PyTree],
  frozen: frozen_lib.Frozen,
  memory: method_lib.Memory,
  lesson: method_lib.Lesson,
  truth: method_lib.Truth,
  key: jax.Array,
) -> tuple[tuple[PyTree, method_lib.Memory], PyTree, method_lib.Metrics]:
  """The student's passes: its statistics, the memory, gradient, and losses.

  What is frozen has no gradient, and leaves what it runs through without one.
  """

  def compute_loss(params):
    trained = {**student, "params": params}
    outputs, batch_stats = _see(model, trained, frozen, lesson.views, key)
    seen, after, metrics = method.observe(
      memory, jax.lax.stop_gradient(outputs), lesson
    )
    losses = method.losses(outputs, seen)
    metrics |= {f"loss/{name}": value for name, value in losses.items()}
    total = sum(losses.values())
    after = frozen_lib.reduce(after, frozen)
    if truth and method.review is not None:
      metrics |= quality.measure(method.review(seen, truth), model.num_classes)
    return total, ((batch_stats, after), metrics | {"loss/total": total})

  (_, (running, metrics)), grads = jax.value_and_grad(
    compute_loss, has_aux=True
  )(student["params"])
  return running, grads, metrics


def _see(
  model: nn.Module,
  student: Mapping[str, PyTree],
  frozen: frozen_lib.Frozen,
  views: Sequence[method_lib.View],
  key: jax.Array,
) -> tuple[tuple[method_lib.Outputs, ...], PyTree]:
  """The student's outputs of each view, and its statistics after the last.

  Args:
    model: the network.
    student: its variables but for what is frozen.
    frozen: that.
    views: in order.
    key: PRNG key of all passes.
  """
  outputs, batch_stats = [], student["batch_stats"]
  for index, view in enumerate(views):
    trained = {"params": student["params"], "batch_stats": batch_stats}
    output, batch_stats = forward.train_pass(
      model,
      frozen_lib.join(trained, frozen),
      view.images,
      key if len(views) == 1 else jax.random.fold_in(key, index),
      dropout=True,
      **view.arguments,
    )
    batch_stats = _without(batch_stats, frozen)
    outputs.append(output)
  return tuple(outputs), batch_stats


def _without(batch_stats: PyTree, frozen: frozen_lib.Frozen) -> PyTree:
  """The statistics of the parts that are trained."""
  held = {} if frozen is None else frozen["batch_stats"]
  return {part: s for part, s in batch_stats.items() if part not in held}


def _descend(
  state: train_state.TrainState,
  tx: optax.GradientTransformation,
  grads: PyTree,
  batch_stats: PyTree,
  memory: method_lib.Memory,
) -> train_state.TrainState:
  """The state after the optimizer, with what the parts of the batch left."""
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  return state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
    memory=memory,
  )


def _unless_bad(
  before: train_state.TrainState,
  after: train_state.TrainState,
  is_bad: jax.Array,
  method: method_lib.Method,
) -> train_state.TrainState:
  """The state after a step, or the one before where something went wrong.

  Counters go on even so, and with them data, schedules and random numbers.
  """

  def pick(old, new):
    is_counter = jnp.issubdtype(new.dtype, jnp.integer)
    return new if is_counter else jnp.where(is_bad, old, new)

  picked = jax.tree.map(
    pick, before.replace(memory=None), after.replace(memory=None)
  )
  return picked.replace(
    memory=method.restore(before.memory, after.memory, is_bad)
  )
