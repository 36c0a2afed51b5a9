"""The length of a run, and how far it has come."""

import dataclasses

import jax

SCHEDULE_UNITS = ("epoch", "step", "never")


@dataclasses.dataclass(frozen=True)
class Timeline:
  """The length of a run.

  Attributes:
    steps_per_epoch: floor(unlabeled images / B_u), one pass over them.
    num_epochs: T.

  Raises:
    ValueError: a count is out of range.
  """

  steps_per_epoch: int
  num_epochs: int

  def __post_init__(self):
    if self.steps_per_epoch < 1 or self.num_epochs < 1:
      raise ValueError(
        f"a run of {self.num_epochs} epochs of {self.steps_per_epoch} steps:"
        " both must be >= 1"
      )

  @property
  def total_steps(self) -> int:
    return self.steps_per_epoch * self.num_epochs

  def progress(self, step: jax.Array | int, unit: str = "step") -> jax.Array:
    """t / T in [0, 1), float32.

    Args:
      step: updates made before; may be traced.
      unit: "step", or "epoch" for a value that changes once an epoch, or
        "never" for one that stays as it is at t = 0.
    """
    if unit == "never":
      return step * 0.0
    if unit == "step":
      return step / self.total_steps
    return (step // self.steps_per_epoch) / self.num_epochs
