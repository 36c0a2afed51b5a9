"""What student and teacher of a run start from."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from u2pl_jax import experiment
from u2pl_jax.data import datasets
from u2pl_jax.models import pretrained, saved_networks
from u2pl_jax.predict import trained
from u2pl_jax.runtime import tree


def load_pretrained(exp: experiment.Experiment) -> pretrained.Pretrained | None:
  """What student and teacher start from, if `model.pretrained` names it.

  Raises:
    ValueError, FileNotFoundError: one line that names the file or run, and
      lists what does not fit.
  """
  if not exp.weights_file:
    return None
  path, shapes = exp.weights_file, exp.model.variable_shapes()
  if saved_networks.may_be_run(path):
    loaded = _load_run(epath.Path(path).expanduser(), shapes)
  else:
    loaded = pretrained.load_pretrained(path, shapes)
  if loaded.class_names:
    datasets.check_classes(exp.dataset, loaded.class_names, path)
  return loaded


def _load_run(
  workdir: epath.Path, shapes: Mapping[str, Any]
) -> pretrained.Pretrained:
  """The network that training evaluated, of a run's best checkpoint.

  Raises:
    ValueError, FileNotFoundError: there is none, or it is another network.
  """
  found = trained.load_run(workdir)
  difference = tree.first_difference(found.variables, shapes)
  if difference:
    name, held, wanted = difference
    raise ValueError(
      f"model.pretrained={workdir}: the run has another network; {name} is"
      f" {held}, expected {wanted}; choose its encoder, decoder and classes"
    )
  parts = tuple(found.variables["params"])
  return pretrained.Pretrained(
    dict(found.variables), parts, (), {}, tuple(found.class_names)
  )
