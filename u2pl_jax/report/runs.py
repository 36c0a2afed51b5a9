"""What a report tells about a run, read from its workdir."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from etils import epath

from u2pl_jax.data import datasets
from u2pl_jax.predict import trained
from u2pl_jax.report import curves as curves_lib
from u2pl_jax.runtime import command_line
from u2pl_jax.runtime import workdir as workdir_lib

_RESULT_KEYS = (
  "step",
  "protocol",
  "miou",
  "iou",
  "seconds",
  "images_per_second",
)


@dataclasses.dataclass(frozen=True)
class Run:
  """A run.

  Attributes:
    name: the last part of its workdir, which tells it from another.
    workdir: the folder of the run.
    config: the config of the run, a nested dict.
    result: what `result.json` holds; None if the run has not ended.
    curves: scalars by tag; {} if there are no event files.
    network: the trained network that the report shows.
  """

  name: str
  workdir: epath.Path
  config: Mapping[str, Any]
  result: Mapping[str, Any] | None
  curves: Mapping[str, curves_lib.Curve]
  network: trained.Trained

  @property
  def miou(self) -> tuple[str, curves_lib.Curve] | None:
    """Protocol and mIoU in percent of the evaluations while training."""
    for tag, curve in self.curves.items():
      if tag.endswith("/miou"):
        return tag.removesuffix("/miou"), curve
    return None


def load_run(workdir: epath.PathLike, which: str, state: str | None) -> Run:
  """Reads a run; see `trained.load_run` for the arguments.

  Raises:
    OSError: there is no such run or checkpoint; one line.
    ValueError: a file is damaged, or the run has no teacher; one line.
  """
  workdir = epath.Path(workdir)
  return Run(
    name=workdir.resolve().name,
    workdir=workdir,
    config=workdir_lib.read_config(workdir),
    result=_read_result(workdir / "result.json"),
    curves=curves_lib.read_curves(workdir),
    network=trained.load_run(workdir, which, state),
  )


def open_dataset(
  config: Mapping[str, Any], network: trained.Trained, data_dir: str | None
) -> datasets.Dataset:
  """The dataset that a run was trained on.

  Args:
    config: of the run.
    network: of the run.
    data_dir: where the dataset is; None for where it was in training.

  Raises:
    FileNotFoundError: it is not there; one line.
    ValueError: it has other classes than the network; one line.
  """
  data = config["data"]
  with command_line.offering_data_dir():
    dataset = datasets.open_dataset(data["name"], data_dir or data["data_dir"])
  datasets.check_classes(
    dataset,
    network.class_names,
    network.origin,
    "name the run's own data by --data_dir",
  )
  return dataset


def _read_result(path: epath.Path) -> Mapping[str, Any] | None:
  if not path.exists():
    return None
  hint = "main.py --mode=eval writes it anew"
  result = workdir_lib.read_json(path, hint)
  for key in _RESULT_KEYS:
    if not isinstance(result, dict) or key not in result:
      raise ValueError(f"{path} is damaged (lacks {key!r}); {hint}")
  return result


def tell_apart(
  first: Run, *others: Run, flag: str = "--compare"
) -> tuple[Run, ...]:
  """Checks that runs can be compared, and gives them different names.

  Args:
    first, *others: the runs.
    flag: that names the others, for the message.

  Raises:
    ValueError: they are of different data or classes; the message names both.
  """
  for other in others:
    _check_same(first, other, flag)
  runs = first, *others
  if len({run.name for run in runs}) == len(runs):
    return runs
  return tuple(dataclasses.replace(run, name=str(run.workdir)) for run in runs)


def _check_same(first: Run, second: Run, flag: str) -> None:
  data = [run.config["data"]["name"] for run in (first, second)]
  classes = [", ".join(run.network.class_names) for run in (first, second)]
  for what, (one, other) in (("dataset", data), ("classes", classes)):
    if one != other:
      raise ValueError(
        f"{flag}={second.workdir}: its {what} {other!r} differ from"
        f" {one!r} of {first.workdir}; compare runs on the same data"
      )
