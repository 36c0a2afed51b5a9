"""Settings of a step, as plain values."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from u2pl_jax.losses import pixelwise
from u2pl_jax.methods.u2pl import contrast

STATISTICS_POLICIES = ("forward", "ema")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
  """Settings of a step.

  A supervised one reads `loss`, `aux_weight`, `teacher_dropout`,
  `teacher_batch_stats` and `accumulate_steps` alone.

  Attributes:
    loss: supervised loss of logits and labels.
    aux_weight: of the supervised auxiliary term, >= 0.
    strong_augment: `mode` and `probability` of `augment.strong_augment`.
    unsupervised_weight: of the unsupervised loss, >= 0.
    drop_percent: of entropies kept at the start of training, 80.
    unreliable_percent: alpha_0, 20.
    reliable: see `partition.partition_by_entropy`.
    teacher_dropout: whether dropout is active in the teacher's train-mode
      forward pass.
    teacher_batch_stats: "forward" lets the teacher's train-mode forward pass
      update its running statistics (both recipes); "ema" averages them from
      the student's like the parameters.
    teacher_first_epoch: see `schedules.ema_decay`.
    ema_decay: largest decay of the teacher, 0.99.
    contrast: options of the contrastive loss; None leaves it out.
    accumulate_steps: parts that a batch is computed in, see `accumulate`.

  Raises:
    ValueError: `teacher_batch_stats` is unknown.
  """

  loss: pixelwise.SupervisedLoss
  aux_weight: float
  strong_augment: Mapping[str, Any]
  unsupervised_weight: float
  drop_percent: float
  unreliable_percent: float
  reliable: str
  teacher_dropout: bool
  teacher_batch_stats: str
  teacher_first_epoch: str
  ema_decay: float
  contrast: contrast.ContrastOptions | None
  accumulate_steps: int

  def __post_init__(self):
    if self.teacher_batch_stats not in STATISTICS_POLICIES:
      raise ValueError(
        f"semi.teacher_batch_stats={self.teacher_batch_stats!r}: expected one"
        f" of {STATISTICS_POLICIES}"
      )
