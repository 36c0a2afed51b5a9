"""From a config to the parts of a run.

Each part reads its own section, through its options class; nothing below this
module sees the config as a whole.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from etils import epath

from u2pl_jax.data import (
  datasets,
  eval_pipeline,
  input_pipeline,
  label_counts,
  streams,
)
from u2pl_jax.data import options as data_options
from u2pl_jax.evaluation import options as eval_options
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.models import network, pretrained, saved_networks
from u2pl_jax.predict import trained
from u2pl_jax.runtime import sharding, tree
from u2pl_jax.training import assemble, optim, programs, train_state
from u2pl_jax.training import options as training_options


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What a run consists of, beside its state.

  Attributes:
    config: the whole config, nested, to be kept with what the run leaves.
    run, data, optim, train, checkpoint, eval: its settings.
    mesh: of all devices.
    dataset: opened.
    split: its labeled and unlabeled images.
    timeline: length of the run.
    programs: what is computed, with the network and the method's phases.
    weights_file: the file or run that student and teacher start from; "" for
      none.
  """

  config: Mapping[str, Any]
  run: training_options.RunOptions
  data: data_options.DataOptions
  optim: optim.OptimOptions
  train: training_options.TrainOptions
  checkpoint: training_options.CheckpointOptions
  eval: eval_options.EvalOptions
  mesh: jax.sharding.Mesh
  dataset: datasets.Dataset
  split: datasets.Split
  timeline: timeline_lib.Timeline
  programs: programs.Programs
  weights_file: str

  @property
  def model(self) -> network.Network:
    """The network of student and teacher."""
    return self.programs.model

  @property
  def protocol(self) -> protocol_lib.Protocol:
    """Of evaluation."""
    return self.eval.create_protocol()

  @property
  def uses_unlabeled(self) -> bool:
    """Whether any step trains on unlabeled images."""
    return self.programs.supply.unlabeled

  def unlabeled_at_step(self, index: int) -> int:
    """Unlabeled images of the global batch that this update trains on."""
    phase = self.programs.phase_at(index)
    return self.data.batch_size_u * phase.uses_unlabeled

  def images_at_step(self, index: int) -> int:
    """Images of the global batch that this update trains on."""
    return self.data.batch_size_l + self.unlabeled_at_step(index)


def create_experiment(
  config: Mapping[str, Any],
  *,
  trains: bool = True,
  devices: Sequence[jax.Device] | None = None,
  opened: tuple[datasets.Dataset, datasets.Split] | None = None,
) -> Experiment:
  """Builds and checks the parts; nothing is compiled or written yet.

  Args:
    config: the whole config, nested.
    trains: whether its batches are to be trained on, and must hence divide
      among the devices.
    devices: of the mesh; by default those of all processes.
    opened: the dataset and its split, where they are not to be opened.

  Raises:
    ValueError, FileNotFoundError: one line that names the key or file.
  """
  run = training_options.RunOptions.read(config)
  data = data_options.DataOptions.read(config)
  train = training_options.TrainOptions.read(config)
  mesh = sharding.create_mesh(run.mesh, devices)
  dataset, split = opened or _open(data)
  timeline = timeline_lib.Timeline(
    steps_per_epoch=input_pipeline.steps_per_epoch(split, data.batch_size_u),
    num_epochs=train.epochs,
  )
  experiment = Experiment(
    config=config,
    run=run,
    data=data,
    optim=optim.OptimOptions.read(config),
    train=train,
    checkpoint=training_options.CheckpointOptions.read(config),
    eval=eval_options.EvalOptions.read(config),
    mesh=mesh,
    dataset=dataset,
    split=split,
    timeline=timeline,
    programs=assemble.create_programs(
      config,
      dataset.class_names,
      len(split.unlabeled),
      timeline,
      mesh,
      functools.partial(_count_pixels, dataset, split),
    ),
    weights_file=network.ModelOptions.read(config).pretrained,
  )
  _check_sizes(experiment, trains)
  return experiment


def _open(
  data: data_options.DataOptions,
) -> tuple[datasets.Dataset, datasets.Split]:
  dataset = datasets.open_dataset(data.name, data.data_dir)
  split = datasets.read_split(dataset, data.split)
  if data.unlabeled_masks:
    datasets.check_unlabeled_masks(dataset, split, data.key("unlabeled_masks"))
  return dataset, split


def _count_pixels(
  dataset: datasets.Dataset, split: datasets.Split
) -> np.ndarray:
  """Labeled pixels of each class, [K]; alike where there are no images."""
  if not dataset.files:  # Then nothing is trained, only compiled.
    return np.ones(dataset.num_classes, np.int64)
  return label_counts.count_pixels(dataset, split.labeled)


def _check_sizes(experiment: Experiment, trains: bool) -> None:
  """Raises ValueError if devices or encoder cannot take batches or crops."""
  data, evaluation = experiment.data, experiment.eval
  multiple, mesh = experiment.model.multiple, experiment.mesh
  for settings in (data, evaluation):
    if any(side % multiple for side in settings.crop_size):
      raise ValueError(
        f"{settings.key('crop_size')}={settings.crop_size}: the sides must be"
        f" multiples of {multiple} with this encoder"
      )
  sharding.check_divisible("eval.batch_size", evaluation.batch_size, mesh)
  names = ("batch_size_l",) + ("batch_size_u",) * experiment.uses_unlabeled
  for name in names if trains else ():
    sharding.check_divisible(
      data.key(name),
      getattr(data, name),
      mesh,
      experiment.optim.accumulate_steps,
    )
  if trains:
    _check_statistics(experiment)


def _check_statistics(experiment: Experiment) -> None:
  """Raises ValueError if batch statistics would be those of one image.

  Where the decoder pools an image to one pixel, its variance is then 0, and so
  becomes the running variance that evaluation divides by.
  """
  data, parts = experiment.data, experiment.optim.accumulate_steps
  if data.batch_size_l > parts:
    return
  if experiment.model.variable_shapes()["batch_stats"]:
    each = f" in each of optim.accumulate_steps={parts}" if parts > 1 else ""
    raise ValueError(
      f"{data.key('batch_size_l')}={data.batch_size_l}: batch normalization"
      f" needs 2 labeled images{each}; set it to {2 * parts} or more, a shorter"
      " list is repeated"
    )


def load_pretrained(experiment: Experiment) -> pretrained.Pretrained | None:
  """What student and teacher start from, if `model.pretrained` names it.

  Raises:
    ValueError, FileNotFoundError: one line that names the file or run, and
      lists what does not fit.
  """
  if not experiment.weights_file:
    return None
  path, shapes = experiment.weights_file, experiment.model.variable_shapes()
  if saved_networks.may_be_run(path):
    loaded = _load_run(epath.Path(path).expanduser(), shapes)
  else:
    loaded = pretrained.load_pretrained(path, shapes)
  check_classes(experiment, path, loaded.class_names)
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


def check_classes(
  experiment: Experiment, path: str, names: Sequence[str]
) -> None:
  """Raises ValueError if a network tells other classes than the dataset has.

  Args:
    experiment: holds the dataset.
    path: of the network.
    names: its classes; () of one that does not tell.
  """
  dataset = experiment.dataset
  for index, (name, wanted) in enumerate(
    itertools.zip_longest(names, dataset.class_names)
  ):
    if names and name != wanted:
      raise ValueError(
        f"{path}: its classes are not those of dataset {dataset.name!r}; class"
        f" {index} is {name or 'missing'}, not {wanted or 'one of them'}"
      )


def learning_rates(experiment: Experiment) -> dict[str, optax.Schedule]:
  """The schedule of each group of parameters, by its name."""
  return optim.learning_rates(
    experiment.optim,
    learning_rate=experiment.optim.base_rate(experiment.data.batch_size_l),
    total_steps=experiment.timeline.total_steps,
  )


def create_state(experiment: Experiment) -> train_state.TrainState:
  """The state at step 0, from the file of weights if there is one.

  Raises:
    ValueError, FileNotFoundError: see `load_pretrained`.
  """
  state = experiment.programs.create_state()
  weights = load_pretrained(experiment)
  if weights is not None:
    state = train_state.start_from(state, weights.variables)
    if weights.remembered:
      state = experiment.programs.adopt(state, weights.remembered)
  return state


def ids_at_step(experiment: Experiment, index: int) -> dict[str, list[str]]:
  """The ids of the images of an update's batch, see `streams.ids_at_step`.

  Unlabeled ones are among them wherever any phase trains on some.
  """
  return streams.ids_at_step(
    experiment.dataset,
    experiment.split,
    index,
    batch_size_l=experiment.data.batch_size_l,
    # Of the stream, which holds what any phase needs.
    batch_size_u=experiment.data.batch_size_u * experiment.uses_unlabeled,
    seed=experiment.run.seed,
    pairing=experiment.data.pairing,
  )


def train_batches(
  experiment: Experiment, start_step: int
) -> input_pipeline.TrainBatches:
  """This process's part of every batch from `start_step` on."""
  return input_pipeline.make_train_iterator(
    experiment.dataset,
    experiment.split,
    experiment.data,
    supply=experiment.programs.supply,
    seed=experiment.run.seed,
    start_step=start_step,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def eval_batches(experiment: Experiment) -> eval_pipeline.EvalBatches:
  """This process's part of the validation set, re-iterable."""
  evaluation = experiment.eval
  return eval_pipeline.make_eval_batches(
    experiment.dataset,
    batch_size=evaluation.batch_size,
    crop_size=experiment.protocol.crop_size,
    max_shapes=evaluation.max_shapes,
    may_pad=not evaluation.base_size,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    num_workers=experiment.data.num_workers or None,
  )
