"""What must hold between AEL and the other parts of a run."""

from u2pl_jax.data import supply
from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl_ael import copy_paste, settings


def check_run(parts: method.Parts, ael: settings.AelOptions) -> None:
  """Raises ValueError, one line that names a key, if AEL cannot be run."""
  if ael.copy_paste_probability:
    copy_paste.find_allowed(ael.excluded, parts.class_names)
  supply.check_lag(ael.key("draw_lag"), ael.draw_lag)
  if parts.num_unlabeled < 2:
    raise ValueError(
      f"data.split has {parts.num_unlabeled} unlabeled image(s), but a mixed"
      " image is made of two; give another split or method"
    )
  mixed = parts.batch_size_u // parts.accumulate_steps
  has_statistics = bool(parts.model.variable_shapes()["batch_stats"])
  if mixed < 2 and has_statistics:
    raise ValueError(
      f"data.batch_size_u={parts.batch_size_u}: the student sees mixed images"
      " by themselves, and where the decoder pools an image to one value a"
      " channel, batch normalization over a single image is not defined; set"
      f" it to {2 * parts.accumulate_steps} or more"
    )
