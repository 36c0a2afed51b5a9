"""What the functions of a step of AEL are given."""

import dataclasses

import jax

from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import contrast, schedule
from u2pl_jax.methods.u2pl_ael import chance as chance_lib
from u2pl_jax.methods.u2pl_ael import settings
from u2pl_jax.ops import interleave


@dataclasses.dataclass(frozen=True)
class Setup:
  """Settings, and what goes with them.

  Attributes:
    parts: of the run.
    semi, contrast, ael: settings.
    chance: draws what is random.
    halves: joins labeled and mixed images to one batch.
  """

  parts: method.Parts
  semi: settings.SemiOptions
  contrast: contrast.ContrastOptions
  ael: settings.AelOptions
  chance: chance_lib.Chance = chance_lib.Chance()
  halves: contrast.Halves = interleave

  @property
  def first_step(self) -> int:
    """Of the epochs with a teacher."""
    return self.semi.first_step(self.parts.timeline)

  def percent(self, step: jax.Array | int) -> jax.Array:
    """a_t, the share of pixels on the dropped side, in percent."""
    progress = self.parts.timeline.progress(step, self.semi.schedule_by)
    return schedule.unreliable_percent(progress, self.semi.unreliable_percent)
