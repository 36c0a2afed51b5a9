"""Settings of AEL, and the recipes of U2PL with it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from u2pl_jax.data import supply
from u2pl_jax.methods import method, u2pl
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import settings
from u2pl_jax.methods.u2pl_ael import confidence, partition
from u2pl_jax.runtime import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemiOptions(settings.TeacherOptions):
  """Settings of the teacher, which teaches from the first step on."""

  supervised_epochs: int = options.setting(0, minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AelOptions(options.Options):
  """Settings of Adaptive Equalization Learning; those of its paper."""

  SECTION: ClassVar[str] = "ael"

  # Of the confidence of each class, from step to step.
  confidence_momentum: float = options.setting(0.999, minimum=0, maximum=1)
  # The confidence of a batch: a mean over the pixels of a class in each
  # "image", and of these; or over those of all images, each "pixel" alike.
  confidence_mean: str = options.setting("image", choices=confidence.MEANS)
  # The confidence of a class that the batch does not show: "keep" it, or let
  # it move toward "zero".
  absent_class: str = options.setting("keep", choices=confidence.ABSENT)

  # That a labeled image gets pixels of another one; 0 for no copy-paste.
  copy_paste_probability: float = options.setting(0.5, minimum=0, maximum=1)
  # Of the random resizing of that other image; half the draws lie on either
  # side of 1.
  copy_paste_scale: tuple[float, float] = options.setting((0.1, 2.0), length=2)
  # Draws of a class for each image; duplicates collapse.
  copy_paste_draws: int = options.setting(3, minimum=1)
  # P(c) is the softmax of (1 - confidence) to this power.
  copy_paste_power: float = options.setting(1.0, minimum=0)
  # Classes that are never pasted, by name or number.
  excluded: tuple[str | int, ...] = ()

  # An image shows a class from this share of its pixels on.
  present_area: float = options.setting(0.005, minimum=0, maximum=1)
  # A component of a class larger than this share of the pixels may be pasted.
  component_area: float = options.setting(0.005, minimum=0, maximum=1)
  # Second images are drawn from the state of so many steps before the step
  # that precedes theirs, so that they are loaded while the devices compute; 0
  # for that step itself, for which the devices then wait.
  draw_lag: int = options.setting(supply.MIN_LAG, minimum=0)

  # Pixels that the teacher is less sure of are not taught; 0 for none.
  confidence_threshold: float = options.setting(0.0, minimum=0, maximum=1)
  # Of which images: "labeled" ones, or "both".
  threshold_on: str = options.setting("labeled", choices=("labeled", "both"))
  # How the teacher sees the two images that are mixed; in "train" mode its
  # statistics move.
  pair_mode: str = options.setting("eval", choices=("eval", "train"))
  # The side of the entropy whose pixels of mixed images are not taught.
  dropped: str = options.setting("unsure", choices=partition.DROPPED)
  # Of reliable and unreliable pixels of mixed images: percentiles that are
  # "scheduled", or "fixed" at semi.unreliable_percent and 100 minus it.
  thresholds: str = options.setting("scheduled", choices=partition.THRESHOLDS)
  # Percentiles of the entropy are those of an "image" or of the "batch".
  percentiles_by: str = options.setting("image", choices=partition.SCOPES)

  # Of the consistency on labeled images.
  consistency_weight_l: float = options.setting(0.0, minimum=0)
  # Of the consistency on mixed images.
  consistency_weight_u: float = options.setting(1.0, minimum=0)
  # A pixel's weight is the teacher's confidence to this power.
  gamma: float = options.setting(2.0, minimum=0)
  # The share of a class's pixels that count is (1 - confidence) to this power,
  # in units of the largest one.
  beta: float = options.setting(1.0, minimum=0)
  # What the weights sum to 1 over: each "image", or the "batch".
  normalize_l_by: str = options.setting("image", choices=partition.SCOPES)
  # The same of mixed images.
  normalize_u_by: str = options.setting("image", choices=partition.SCOPES)
  # Whether pixels without a label are among them.
  normalize_ignored: bool = False

  # The share of the epochs after which the contrastive loss begins.
  contrast_start: float = options.setting(0.0, minimum=0, maximum=1)

  def check(self):
    low, high = self.copy_paste_scale
    if not 0 < low <= 1 <= high:
      raise ValueError(
        f"ael.copy_paste_scale={low, high}: must hold 1, and be > 0"
      )

  def contrast_step(self, timeline: timeline_lib.Timeline) -> int:
    """The first step with the contrastive loss, at the start of an epoch."""
    epoch = round(self.contrast_start * timeline.num_epochs)
    return timeline.steps_per_epoch * epoch


def recipes(published: method.Published) -> dict[str, Mapping[str, Any]]:
  """Every difference between the papers and the published code, one key each.

  `paper` is U2PL's paper with the equations of AEL's, `reference` the branch
  with_AEL. The classes that the branch excludes from copy-paste are those of
  one dataset: its config says them; algorithm section 5.7.
  """
  inherited = {
    name: {
      key: value
      for key, value in recipe.items()
      if key.startswith(("data.", "loss.", "contrast.")) or key in _OF_TEACHER
    }
    for name, recipe in u2pl.recipes(published).items()
  }
  return {
    "paper": {
      **inherited["paper"],
      "loss.kind": "ce",
      "loss.aux_weight": 0.0,
      "ael.confidence_mean": "image",
      "ael.absent_class": "keep",
      "ael.copy_paste_power": 1.0,
      "ael.present_area": 0.005,
      "ael.dropped": "unsure",
      "ael.thresholds": "scheduled",
      "ael.consistency_weight_l": 0.0,
      "ael.normalize_l_by": "image",
      "ael.normalize_ignored": False,
      "ael.contrast_start": 0.0,
    },
    "reference": {
      **inherited["reference"],
      "loss.kind": "ohem",
      "loss.aux_weight": 0.4,
      # 0.1 in the code, divided by its number of GPUs.
      "contrast.weight": 0.1 / published.num_gpus,
      "ael.confidence_mean": "pixel",
      "ael.absent_class": "zero",
      "ael.copy_paste_power": 0.5,
      "ael.present_area": 0.01,
      "ael.dropped": "sure",
      "ael.thresholds": "fixed",
      "ael.consistency_weight_l": 1.0,
      "ael.normalize_l_by": "batch",
      "ael.normalize_ignored": True,
      # Epoch 20 of 200.
      "ael.contrast_start": 0.1,
    },
  }


_OF_TEACHER = ("semi.teacher_dropout", "semi.teacher_init")
