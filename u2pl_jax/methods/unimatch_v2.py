"""UniMatch V2 (Yang et al., TPAMI 2025): complementary dropout of features.

Everything happens in `consistency.teacher`; here stand the settings.
"""

import dataclasses
from typing import ClassVar

from u2pl_jax.methods import method
from u2pl_jax.methods.consistency import features, settings, teacher, views
from u2pl_jax.runtime import options

NAMES = ("unimatch_v2",)
TITLE = "UniMatch V2"
USES_REPRESENTATION = False
_NUM_VIEWS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniMatchV2Options(options.Options):
  """Settings of UniMatch V2 alone."""

  SECTION: ClassVar[str] = "unimatch_v2"

  # Of the mean loss on the two strong views.
  strong_weight: float = options.setting(0.5, minimum=0)
  # Whether a channel of the features is dropped in one of the two views.
  complementary: bool = True
  # Share of the images of a group that keep all channels, rounded down.
  untouched: float = options.setting(0.5, minimum=0, maximum=1)
  # Largest decay of the teacher.
  ema_decay: float = options.setting(0.996, minimum=0, maximum=1)


OPTIONS = (settings.ConsistencyOptions, views.ViewOptions, UniMatchV2Options)


# Every difference between the published code and any mesh.
recipes = settings.recipes


def create(
  parts: method.Parts,
  shared: settings.ConsistencyOptions,
  view_options: views.ViewOptions,
  unimatch: UniMatchV2Options,
  *,
  draw: views.Draw | None = None,
) -> tuple[method.Phase, ...]:
  """One phase, with a teacher.

  Args:
    parts: of the run.
    shared, view_options, unimatch: settings.
    draw: of each step; the default draws at random.

  Raises:
    ValueError: settings do not go together; one line that names a key.
  """
  shared.check_batch(parts, needs_pairs=True)
  draw_scales = None
  if unimatch.complementary:
    draw_scales = features.make_complementary(
      parts,
      features.widths_of(parts, "unimatch_v2.complementary=True"),
      untouched=unimatch.untouched,
      groups=shared.groups,
    )
  return teacher.TeacherTaught(
    parts,
    shared,
    draw or views.make_draw(view_options, _NUM_VIEWS, draw_scales),
    strong_weight=unimatch.strong_weight,
    ema_decay=unimatch.ema_decay,
  ).as_phases()
