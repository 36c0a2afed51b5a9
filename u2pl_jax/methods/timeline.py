"""What changes with training time: percentages, EMA decay, phases.

All functions take a traced step, so that one compilation serves the run.
"""

import dataclasses

import jax
import jax.numpy as jnp

SCHEDULE_UNITS = ("epoch", "step")
FIRST_EPOCH_POLICIES = ("average", "copy")


@dataclasses.dataclass(frozen=True)
class Timeline:
  """The length of a run and of its parts.

  Attributes:
    steps_per_epoch: floor(unlabelled images / B_u), one pass over them.
    num_epochs: T.
    supervised_epochs: epochs at the start that use labelled images alone.
    schedule_by: "epoch" moves the percentages once an epoch (the paper and
      the published code), "step" at every step.

  Raises:
    ValueError: a count is out of range, or `schedule_by` unknown.
  """

  steps_per_epoch: int
  num_epochs: int
  supervised_epochs: int
  schedule_by: str = "epoch"

  def __post_init__(self):
    if self.steps_per_epoch < 1 or self.num_epochs < 1:
      raise ValueError(
        f"a run of {self.num_epochs} epochs of {self.steps_per_epoch} steps:"
        " both must be >= 1"
      )
    if not 0 <= self.supervised_epochs <= self.num_epochs:
      raise ValueError(
        f"semi.supervised_epochs={self.supervised_epochs}: expected 0 to"
        f" train.epochs={self.num_epochs}"
      )
    if self.schedule_by not in SCHEDULE_UNITS:
      raise ValueError(
        f"semi.schedule_by={self.schedule_by!r}: expected one of"
        f" {SCHEDULE_UNITS}"
      )

  @property
  def total_steps(self) -> int:
    return self.steps_per_epoch * self.num_epochs

  @property
  def first_semi_step(self) -> int:
    return self.steps_per_epoch * self.supervised_epochs

  def progress(self, step: jax.Array) -> jax.Array:
    """t / T in [0, 1): float32."""
    if self.schedule_by == "step":
      return step / self.total_steps
    return (step // self.steps_per_epoch) / self.num_epochs

  def in_first_semi_epoch(self, step: jax.Array) -> jax.Array:
    """Whether `step` is in the first epoch that uses unlabelled images."""
    return step < self.first_semi_step + self.steps_per_epoch


def drop_percent(progress: jax.Array, start_percent: float) -> jax.Array:
  """100 - (100 - start) (1 - t/T): from `start_percent` (80) up to 100."""
  return 100.0 - (100.0 - start_percent) * (1.0 - progress)


def unreliable_percent(progress: jax.Array, start_percent: float) -> jax.Array:
  """alpha_t = alpha_0 (1 - t/T), the unreliable share (paper eq. 6)."""
  return start_percent * (1.0 - progress)


def ema_decay(
  step: jax.Array, timeline: Timeline, *, max_decay: float, first_epoch: str
) -> jax.Array:
  """d in teacher <- d teacher + (1 - d) student, after the update of `step`.

  Args:
    step: [] int32, at least `timeline.first_semi_step`.
    timeline: of the run.
    max_decay: 0.99.
    first_epoch: "average" lets d = min(1 - 1/n, max_decay) from the first
      semi-supervised step (n = 1, a copy) on. "copy" holds d at 0 through the
      first semi-supervised epoch, as the published code does, where the
      teacher shares the student's memory for that long.

  Returns:
    [] float32 in [0, max_decay].

  Raises:
    ValueError: `first_epoch` is neither of the two.
  """
  if first_epoch not in FIRST_EPOCH_POLICIES:
    raise ValueError(
      f"semi.teacher_first_epoch={first_epoch!r}: expected one of"
      f" {FIRST_EPOCH_POLICIES}"
    )
  nth = step - timeline.first_semi_step + 1
  decay = jnp.minimum(1.0 - 1.0 / nth, max_decay)
  if first_epoch == "copy":
    decay = jnp.where(timeline.in_first_semi_epoch(step), 0.0, decay)
  return decay
