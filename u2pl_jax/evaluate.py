"""Evaluation of what a run saved, or of a network that others share."""

from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from u2pl_jax import experiment, validation
from u2pl_jax.data import datasets
from u2pl_jax.evaluation import metrics, options, predictions
from u2pl_jax.experiment import states
from u2pl_jax.predict import trained
from u2pl_jax.runtime import distributed
from u2pl_jax.runtime import workdir as workdir_lib


def evaluate(
  config: Mapping[str, Any],
  workdir: epath.PathLike,
  which: str,
  *,
  network: str | None = None,
  save_predictions: str = "",
) -> dict[str, Any]:
  """Evaluates a checkpoint of a run and writes the result.

  Args:
    config: of the run; whatever is in its section `eval` may differ.
    workdir: of the run.
    which: "best" or "last".
    network: "teacher" or "student"; None for the one that counts.
    save_predictions: see `predictions.parse_formats`; they are written to
      WORKDIR/predictions.

  Returns:
    What `result.json` holds.

  Raises:
    ValueError, OSError: one line that names the key, file or value at fault.
  """
  workdir = epath.Path(workdir)
  workdir_lib.check_same_config(workdir, config, ("eval.",))
  exp = experiment.create_experiment(config, trains=False)
  formats = _parse_formats(exp, save_predictions)
  saved = states.read_checkpoint(exp, workdir, which)
  network = network or saved.phase.network
  folder = workdir / "predictions"
  folder /= f"{exp.protocol.long_name}_{network}_step_{saved.step}"
  saver = _create_saver(exp, formats, folder)
  trained_with = options.EvalOptions.read(workdir_lib.read_config(workdir))
  evaluation = validation.Evaluation(exp, distributed.show)
  scores = evaluation(saved.step, saved.state, network, saver)
  result = validation.make_result(
    exp,
    saved.step,
    network,
    scores,
    saved.best,
    trained_with.create_protocol().name,
    saved.progress,
  )
  if saver is not None:
    distributed.show(f"predictions are in {folder}")
  if jax.process_index() == 0:
    validation.write_result(workdir, result)
  return result


def evaluate_weights(
  config: Mapping[str, Any], path: epath.PathLike
) -> metrics.Scores:
  """Evaluates the network in a file or folder; shows its scores.

  Args:
    config: of a run on the data to evaluate on; its network does not count.
    path: see `trained.load_file`.

  Raises:
    ValueError, OSError: one line that names the key, file or value at fault,
      such as classes that are not those of the data.
  """
  network = trained.load_file(path)
  sections = {k: v for k, v in network.options.items() if k != "num_classes"}
  exp = experiment.create_experiment({**config, **sections}, trains=False)
  datasets.check_classes(exp.dataset, network.class_names, str(path))
  evaluation = validation.Evaluation(exp, distributed.show)
  return evaluation.measure(network.variables, f"{network.origin}:")


def _create_saver(
  exp: experiment.Experiment, formats: tuple[str, ...], folder: epath.Path
) -> predictions.Saver | None:
  if not formats:
    return None
  ids = exp.dataset.ids["val"]
  return predictions.Saver(folder, formats, ids, exp.dataset.palette)


def _parse_formats(exp: experiment.Experiment, text: str) -> tuple[str, ...]:
  formats = predictions.parse_formats(text, exp.dataset.num_classes)
  if formats and exp.protocol.crop_size is not None:
    raise ValueError(
      f"--save_predictions={text}: eval.protocol=crop sees the center of images"
      " only; use --config.eval.protocol=whole or slide"
    )
  return formats
