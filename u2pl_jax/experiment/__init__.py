"""From a config to the parts of a run.

Each part reads its own section, through its options class; nothing below this
package sees the config as a whole. What is made of the parts later:

  inputs   the batches, and the ids of their images
  weights  what student and teacher start from
  states   the state, at the start or of a checkpoint
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from u2pl_jax.data import datasets, input_pipeline, label_counts
from u2pl_jax.data import options as data_options
from u2pl_jax.evaluation import options as eval_options
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.models import network
from u2pl_jax.runtime import sharding
from u2pl_jax.training import assemble, optim, programs
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

  @functools.cached_property
  def fingerprint(self) -> dict[str, str]:
    """What tells its data from other data; see `datasets.fingerprint`."""
    return datasets.fingerprint(self.dataset, self.split)

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


def learning_rates(experiment: Experiment) -> dict[str, optax.Schedule]:
  """The schedule of each group of parameters, by its name."""
  return optim.learning_rates(
    experiment.optim,
    learning_rate=experiment.optim.base_rate(experiment.data.batch_size_l),
    total_steps=experiment.timeline.total_steps,
  )
