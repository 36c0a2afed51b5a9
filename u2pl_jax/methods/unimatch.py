"""UniMatch (Yang et al., CVPR 2023): two strong views and perturbed features.

Everything happens in `consistency.student`; here stand the settings.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from u2pl_jax.methods import method
from u2pl_jax.methods.consistency import features, settings, student, views
from u2pl_jax.runtime import options

NAMES = ("unimatch",)
TITLE = "UniMatch"
USES_REPRESENTATION = False
_NUM_VIEWS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniMatchOptions(options.Options):
  """Settings of UniMatch alone."""

  SECTION: ClassVar[str] = "unimatch"

  # Where the box of a strong view comes from; "same_image" costs a second crop
  # of each image and a pass in eval mode.
  partner: str = options.setting("reversed_batch", choices=settings.PARTNERS)
  # Of the mean loss on the two strong views.
  strong_weight: float = options.setting(0.25, minimum=0)
  # Of the loss on weak views with perturbed features; 0 leaves them out.
  perturbed_weight: float = options.setting(0.25, minimum=0)


OPTIONS = (settings.ConsistencyOptions, views.ViewOptions, UniMatchOptions)


def recipes(published: method.Published) -> dict[str, Mapping[str, Any]]:
  """Every difference between the published code and any mesh."""
  return settings.recipes(
    published,
    mesh={"unimatch.partner": "reversed_batch"},
    reference={"unimatch.partner": "same_image"},
  )


def create(
  parts: method.Parts,
  shared: settings.ConsistencyOptions,
  view_options: views.ViewOptions,
  unimatch: UniMatchOptions,
  *,
  draw: views.Draw | None = None,
) -> tuple[method.Phase, ...]:
  """One phase, in which nothing is remembered.

  Args:
    parts: of the run.
    shared, view_options, unimatch: settings.
    draw: of each step; the default draws at random.

  Raises:
    ValueError: settings do not go together; one line that names a key.
  """
  shared.check_batch(parts, needs_pairs=unimatch.partner == "reversed_batch")
  draw_scales = None
  if unimatch.perturbed_weight:
    widths = features.widths_of(
      parts, f"unimatch.perturbed_weight={unimatch.perturbed_weight}"
    )
    draw_scales = features.make_perturbation(parts, widths)
  return student.StudentTaught(
    parts,
    shared,
    draw or views.make_draw(view_options, _NUM_VIEWS, draw_scales),
    partner=unimatch.partner,
    strong_weight=unimatch.strong_weight,
    perturbed_weight=unimatch.perturbed_weight,
  ).as_phases()
