"""Settings of U2PL but for those of its contrastive loss, and its recipes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from u2pl_jax.methods import method, suponly
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import partition, schedule
from u2pl_jax.ops import mixing
from u2pl_jax.runtime import options

TEACHER_INITS = ("at_start", "student", "independent")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherOptions(options.Options):
  """Settings of the teacher, and of when it begins to teach."""

  SECTION: ClassVar[str] = "semi"

  # Epochs at the start on labeled images alone.
  supervised_epochs: int = options.setting(1, minimum=0)
  # Whether the percentages move every epoch, every step, or never.
  schedule_by: str = options.setting(
    "epoch", choices=timeline_lib.SCHEDULE_UNITS
  )
  # alpha_0; falls to 0.
  unreliable_percent: float = options.setting(20.0, minimum=0, maximum=100)
  # "at_start": the teacher is made as a copy of the student, statistics
  # included, when the semi-supervised epochs begin. "independent": it has
  # initial values of its own; its train-mode passes move its statistics in the
  # supervised epochs already, and it keeps them when it takes the student's
  # parameters. "student": the same, from the student's initial values.
  teacher_init: str = options.setting("at_start", choices=TEACHER_INITS)
  # Dropout in the teacher's train-mode pass.
  teacher_dropout: bool = False
  # "forward": the teacher's own train-mode passes move its BN statistics;
  # "ema": they are averaged like the parameters.
  teacher_batch_stats: str = options.setting(
    "forward", choices=("forward", "ema")
  )
  # Largest decay of the teacher.
  ema_decay: float = options.setting(0.99, minimum=0, maximum=1)

  def first_step(self, timeline: timeline_lib.Timeline) -> int:
    """Of the semi-supervised epochs.

    Raises:
      ValueError: the run has fewer epochs.
    """
    if self.supervised_epochs > timeline.num_epochs:
      raise ValueError(
        f"semi.supervised_epochs={self.supervised_epochs}: expected 0 to"
        f" train.epochs={timeline.num_epochs}"
      )
    return timeline.steps_per_epoch * self.supervised_epochs


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemiOptions(TeacherOptions):
  """Settings of pseudo-labels, their partition, and the teacher."""

  # At the start; rises to 100.
  drop_percent: float = options.setting(80.0, minimum=0, maximum=100)
  # "below_unreliable": all pixels with H <= gamma_t may be anchors; "lowest":
  # only the surest alpha_t percent, hence none at the end.
  reliable: str = options.setting(
    "below_unreliable", choices=partition.RELIABLE_RULES
  )
  # Of the loss on pseudo-labels.
  unsupervised_weight: float = options.setting(1.0, minimum=0)
  # "average" from the first semi step; "copy" the student for an epoch.
  teacher_first_epoch: str = options.setting(
    "average", choices=schedule.FIRST_EPOCHS
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentOptions(options.Options):
  """Settings of the strong augmentation of unlabeled images."""

  SECTION: ClassVar[str] = "augment"

  # How images and pseudo-labels are mixed; "none" leaves them alone.
  mode: str = options.setting("cutmix", choices=mixing.MODES)
  # For the whole step.
  probability: float = options.setting(0.5, minimum=0, maximum=1)


def recipes(published: method.Published) -> dict[str, Mapping[str, Any]]:
  """Every difference between the paper and the published code, one key each."""
  supervised = suponly.recipes(published)
  return {
    "paper": {
      **supervised["paper"],
      "semi.reliable": "below_unreliable",
      "semi.teacher_dropout": False,
      "semi.teacher_init": "at_start",
      "semi.teacher_first_epoch": "average",
      "contrast.positive": "anchors",
      "contrast.labeled_negatives": True,
      "contrast.own_pseudo_label": False,
      "contrast.label_stack": 1,
      "contrast.max_negative_prob": 2.0,
      "contrast.divide_by": "contributing",
      "contrast.num_anchors": 50,
      "contrast.num_negatives": 256,
      "contrast.weight": 0.1,
    },
    "reference": {
      **supervised["reference"],
      "semi.reliable": "lowest",
      "semi.teacher_dropout": True,
      "semi.teacher_init": "independent",
      "semi.teacher_first_epoch": "copy",
      "contrast.positive": "reliable",
      "contrast.labeled_negatives": False,
      "contrast.own_pseudo_label": True,
      "contrast.label_stack": published.images_per_gpu,
      "contrast.max_negative_prob": 1.0,
      "contrast.divide_by": "present",
      "contrast.num_anchors": 256,
      "contrast.num_negatives": 50,
      # 1 in the code, divided by its number of GPUs.
      "contrast.weight": 1.0 / published.num_gpus,
    },
  }
