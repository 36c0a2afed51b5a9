"""FixMatch for segmentation, as the code of UniMatch has it: one strong view.

Reference: Sohn et al. 2020 (arXiv 2001.07685); fixmatch.py of UniMatch and of
UniMatch-V2.
"""

import dataclasses
from typing import ClassVar

from u2pl_jax.methods import method
from u2pl_jax.methods.consistency import settings, student, teacher, views
from u2pl_jax.runtime import options

NAMES = ("fixmatch",)
TITLE = "FixMatch"
USES_REPRESENTATION = False
_NUM_VIEWS = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixMatchOptions(options.Options):
  """Settings of FixMatch alone."""

  SECTION: ClassVar[str] = "fixmatch"

  # Who labels the weak views: a moving average of the student, as in the
  # second version of the code, or, as in the first, the student in train mode.
  labels_by: str = options.setting("teacher", choices=("teacher", "student"))
  # Where the box of a strong view comes from; "same_image" only with labels by
  # the student, whom it costs a pass in eval mode.
  partner: str = options.setting("reversed_batch", choices=settings.PARTNERS)
  # Of the loss on the strong view.
  strong_weight: float = options.setting(0.5, minimum=0)
  # Largest decay of the teacher.
  ema_decay: float = options.setting(0.996, minimum=0, maximum=1)

  def check(self):
    if self.labels_by == "teacher" and self.partner == "same_image":
      raise ValueError(
        "fixmatch.partner=same_image: only with fixmatch.labels_by=student"
      )


OPTIONS = (settings.ConsistencyOptions, views.ViewOptions, FixMatchOptions)


# Every difference between the published code and any mesh.
recipes = settings.recipes


def create(
  parts: method.Parts,
  shared: settings.ConsistencyOptions,
  view_options: views.ViewOptions,
  fixmatch: FixMatchOptions,
  *,
  draw: views.Draw | None = None,
) -> tuple[method.Phase, ...]:
  """One phase, with a teacher if it labels.

  Args:
    parts: of the run.
    shared, view_options, fixmatch: settings.
    draw: of each step; the default draws at random.

  Raises:
    ValueError: settings do not go together; one line that names a key.
  """
  shared.check_batch(parts, needs_pairs=fixmatch.partner == "reversed_batch")
  draw = draw or views.make_draw(view_options, _NUM_VIEWS, None)
  if fixmatch.labels_by == "student":
    taught = student.StudentTaught(
      parts,
      shared,
      draw,
      partner=fixmatch.partner,
      strong_weight=fixmatch.strong_weight,
    )
  else:
    taught = teacher.TeacherTaught(
      parts,
      shared,
      draw,
      strong_weight=fixmatch.strong_weight,
      ema_decay=fixmatch.ema_decay,
      joins_labeled=True,
    )
  return taught.as_phases()
