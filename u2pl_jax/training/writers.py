"""Where curves and pictures go: TensorBoard, and trackers that a config names.

Weights & Biases and MLflow are writers of metrics like TensorBoard's, so that
nothing else of a run knows of them; their packages are imported only when they
are asked for. No fault of theirs ends a run: it is told once, and the run goes
on without them.

WORKDIR/trackers.json says which runs of theirs a workdir belongs to, so that
these go on when the run does.
"""

import abc
import importlib
import os
import re
import secrets
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from clu import metric_writers
from etils import epath

from u2pl_jax.runtime import damage
from u2pl_jax.runtime import workdir as workdir_lib
from u2pl_jax.training import options as options_lib

Show = Callable[[str], None]

_FILE = "trackers.json"
_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}  # By key of the config.
# Seconds until a server that does not answer is given up.
_PATIENCE = 10
# Seconds that a run waits at its end for what is not sent yet.
_LAST_UPLOAD = 60
_EXPERIMENT = "u2pl_jax"  # Of MLflow.
# What MLflow allows in names of metrics, and of pictures.
_NOT_IN_METRICS = re.compile(r"[^\w\-. :/]")
_NOT_IN_IMAGES = re.compile(r"[^\w\-.]")


def create(
  config: Mapping[str, Any], workdir: epath.Path, show: Show
) -> list[metric_writers.MetricWriter]:
  """The writers of a run, trackers started.

  Args:
    config: of the run, nested; trackers show it.
    workdir: of the run; exists.
    show: receives a line when a tracker fails.

  Raises:
    ImportError: a tracker is not installed; one line that names the extra.
  """
  log = options_lib.LogOptions.read(config)
  kinds = {"wandb": _Wandb, "mlflow": _Mlflow}
  packages = {key: load(key) for key in kinds if getattr(log, key)}
  return [metric_writers.SummaryWriter(str(workdir))] + [
    kinds[key](package, getattr(log, key), _Memory(workdir, key), config, show)
    for key, package in packages.items()
  ]


def load(key: str) -> types.ModuleType:
  """The package of `log.KEY`.

  Raises:
    ImportError: it is not installed; one line.
  """
  try:
    return importlib.import_module(_PACKAGES[key])
  except ModuleNotFoundError as error:
    raise ImportError(
      f"log.{key} needs the package {_PACKAGES[key]}: pip install"
      f" 'u2pl_jax[{key}]', or leave --config.log.{key} out"
    ) from error


class _Memory:
  """What a tracker calls the run of a workdir."""

  def __init__(self, workdir: epath.Path, key: str):
    self.workdir = workdir
    self._key = key

  def recall(self, place: str) -> str | None:
    """The id of the run in a project or server; None if there is none yet."""
    known = self._read().get(self._key, {})
    return known["id"] if known.get("place") == place else None

  def keep(self, place: str, run_id: str) -> None:
    """Keeps it for the next start."""
    entry = {self._key: {"place": place, "id": run_id}}
    workdir_lib.write_json(self.workdir / _FILE, self._read() | entry)

  def _read(self) -> dict[str, Any]:
    path = self.workdir / _FILE
    if not path.exists():
      return {}
    return workdir_lib.read_json(path, "delete it to begin new tracked runs")


class _Tracker(metric_writers.MultiWriter):
  """Hands scalars and pictures on until it fails.

  A run writes nothing else, which would go to the writers of a `MultiWriter`:
  there are none.
  """

  def __init__(
    self,
    package: types.ModuleType,
    place: str,
    memory: _Memory,
    config: Mapping[str, Any],
    show: Show,
  ):
    super().__init__([])
    self._package = package
    self._place = place
    self._memory = memory
    self._config = config
    self._show = show
    self._is_lost = False
    self._attempt(self._start)

  def _attempt(self, call: Callable[..., None], *arguments: Any) -> None:
    if self._is_lost:
      return
    try:
      call(*arguments)
    except Exception as error:  # Libraries and servers have kinds of their own.
      self._is_lost = True
      self._show(
        f"{self._package.__name__}: {damage.first_line(error)}; the run goes on"
        " without it, and TensorBoard has all curves"
      )

  def write_scalars(self, step, scalars):
    self._attempt(
      self._log_scalars,
      step,
      {name: float(value) for name, value in scalars.items()},
    )

  def write_images(self, step, images):
    pictures = {}
    for name, array in images.items():
      array = np.asarray(array)
      pictures[name] = array[0] if array.ndim == 4 else array
    self._attempt(self._log_images, step, pictures)

  def close(self):
    self._attempt(self._end)

  @abc.abstractmethod
  def _start(self) -> None:
    """Begins the tracked run, or goes on with it."""

  @abc.abstractmethod
  def _log_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Of one step."""

  @abc.abstractmethod
  def _log_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Of one step, [H, W, 3] each."""

  @abc.abstractmethod
  def _end(self) -> None:
    """Ends the tracked run; it may be gone on with."""


class _Wandb(_Tracker):
  """A run of a project of Weights & Biases."""

  def _start(self) -> None:
    run_id = self._memory.recall(self._place) or secrets.token_hex(4)
    self._memory.keep(self._place, run_id)
    try:
      self._run = self._init(run_id, mode=None)
    except self._package.errors.Error as error:
      self._show(
        f"wandb: {damage.first_line(error)}; the run goes on, and `wandb sync"
        f" {self._memory.workdir}/wandb/offline-*` brings its curves there"
      )
      self._package.teardown()  # Else the id remains in use.
      self._run = self._init(run_id, mode="offline")

  def _init(self, run_id: str, mode: str | None) -> Any:
    return self._package.init(
      project=self._place,
      id=run_id,
      resume="allow",
      name=self._memory.workdir.name,
      dir=str(self._memory.workdir),
      config=dict(self._config),
      mode=mode,
      # What the program prints stays as it is.
      settings=self._package.Settings(
        console="off",
        quiet=True,
        silent=True,
        init_timeout=_PATIENCE,
        finish_timeout=_LAST_UPLOAD,
      ),
    )

  def _log_scalars(self, step, scalars):
    self._run.log(dict(scalars), step=step)

  def _log_images(self, step, images):
    pictures = {
      name: self._package.Image(each) for name, each in images.items()
    }
    self._run.log(pictures, step=step)

  def _end(self):
    self._run.finish()


class _Mlflow(_Tracker):
  """A run of an MLflow server or folder, in the experiment `u2pl_jax`."""

  def _start(self) -> None:
    # Else a server that is away holds a run up for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_PATIENCE))
    self._client = self._package.MlflowClient(tracking_uri=self._place)
    run_id = self._memory.recall(self._place)
    if run_id is None:
      run_id = self._create()
      self._memory.keep(self._place, run_id)
    else:
      self._client.update_run(run_id, status="RUNNING")
    self._run_id = run_id

  def _create(self) -> str:
    found = self._client.get_experiment_by_name(_EXPERIMENT)
    experiment = (
      found.experiment_id
      if found
      else self._client.create_experiment(_EXPERIMENT)
    )
    name = self._memory.workdir.name
    run_id = self._client.create_run(experiment, run_name=name).info.run_id
    self._client.log_dict(run_id, dict(self._config), "config.json")
    return run_id

  def _log_scalars(self, step, scalars):
    now = int(1000 * time.time())
    metric = self._package.entities.Metric
    self._client.log_batch(
      self._run_id,
      metrics=[
        metric(_NOT_IN_METRICS.sub("_", name), value, now, step)
        for name, value in scalars.items()
      ],
    )

  def _log_images(self, step, images):
    for name, each in images.items():
      key = _NOT_IN_IMAGES.sub("_", name)
      self._client.log_image(self._run_id, each, key=key, step=step)

  def _end(self):
    self._client.set_terminated(self._run_id)
