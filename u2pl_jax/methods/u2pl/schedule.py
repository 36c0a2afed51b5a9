"""What changes with training time: percentages, and the teacher's decay.

All take a traced step, so that one compilation serves the run.
"""

import jax
import jax.numpy as jnp

from u2pl_jax.methods import teacher

FIRST_EPOCHS = ("average", "copy")


def drop_percent(progress: jax.Array, start_percent: float) -> jax.Array:
  """100 - (100 - start) (1 - t/T): from `start_percent` (80) up to 100."""
  return 100.0 - (100.0 - start_percent) * (1.0 - progress)


def unreliable_percent(progress: jax.Array, start_percent: float) -> jax.Array:
  """alpha_t = alpha_0 (1 - t/T), the unreliable share (paper eq. 6)."""
  return start_percent * (1.0 - progress)


def ema_decay(
  step: jax.Array,
  *,
  first_step: int,
  steps_per_epoch: int,
  max_decay: float,
  first_epoch: str,
) -> jax.Array:
  """d in teacher <- d teacher + (1 - d) student, after the update of `step`.

  Args:
    step: [] int32, at least `first_step`.
    first_step: of the semi-supervised epochs.
    steps_per_epoch: of the run.
    max_decay: 0.99.
    first_epoch: "average" lets d = min(1 - 1/n, max_decay) from the first
      semi-supervised step (n = 1, a copy) on. "copy" holds d at 0 through the
      first semi-supervised epoch, as the published code does, where the
      teacher shares the student's memory for that long.

  Returns:
    [] float32 in [0, max_decay].
  """
  decay = teacher.ema_decay(step - first_step + 1, max_decay)
  if first_epoch == "copy":
    decay = jnp.where(step < first_step + steps_per_epoch, 0.0, decay)
  return decay
