"""From a config to the parts of a run: the one reader of `ConfigDict`.

Everything below takes plain keyword arguments; sections of the config are
passed whole, so that a key nobody knows raises.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import config_dict

from u2pl_jax import (
  contrast,
  optim,
  schedules,
  sharding,
  train_state,
  train_step,
)
from u2pl_jax.data import datasets, input_pipeline
from u2pl_jax.losses import supervised
from u2pl_jax.models import deeplab


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What a run consists of, beside its state.

  Attributes:
    config: the whole config, locked.
    mesh: of all devices.
    dataset: opened.
    split: its labelled and unlabelled images.
    timeline: length of the run and of its parts.
    model: the network of student and teacher.
    tx: the optimiser.
    contrast_options: None without the contrastive loss.
  """

  config: config_dict.ConfigDict
  mesh: jax.sharding.Mesh
  dataset: datasets.Dataset
  split: datasets.Split
  timeline: schedules.Timeline
  model: nn.Module
  tx: optax.GradientTransformation
  contrast_options: contrast.ContrastOptions | None

  @property
  def is_semi(self) -> bool:
    return self.config.method == "u2pl"

  @property
  def images_per_step(self) -> int:
    """Images of the global batch that a step trains on."""
    data = self.config.data
    return data.batch_size_l + (data.batch_size_u if self.is_semi else 0)

  def teacher_is_evaluated(self, step: int) -> bool:
    """Whether the model after `step` updates is the teacher, or the student."""
    return self.is_semi and step > self.timeline.first_semi_step


def _check_choices(config: config_dict.ConfigDict) -> None:
  if config.method not in ("u2pl", "suponly"):
    raise ValueError(
      f"method={config.method!r}: expected 'u2pl' or 'suponly', as the config"
      " argument method=..."
    )
  for key in ("train.log_every_steps", "eval.every_epochs"):
    section, name = key.split(".")
    if config[section][name] < 1:
      raise ValueError(f"{key}={config[section][name]}: must be >= 1")


def create_experiment(config: config_dict.ConfigDict) -> Experiment:
  """Builds and checks the parts; nothing is compiled or written yet.

  Raises:
    ValueError, FileNotFoundError: one line that names the key or file.
  """
  _check_choices(config)
  is_semi = config.method == "u2pl"
  mesh = sharding.create_mesh()
  sharding.check_divisible("eval.batch_size", config.eval.batch_size, mesh)
  for name in ("batch_size_l", "batch_size_u"):
    sharding.check_divisible(f"data.{name}", config.data[name], mesh)
  dataset = datasets.open_dataset(config.data.name, config.data.data_dir)
  split = datasets.read_split(dataset, config.data.split)
  input_pipeline.check_batch_sizes(
    split, config.data.batch_size_l, config.data.batch_size_u, 1
  )
  timeline = schedules.Timeline(
    steps_per_epoch=input_pipeline.steps_per_epoch(
      split, config.data.batch_size_u
    ),
    num_epochs=config.train.epochs,
    supervised_epochs=config.semi.supervised_epochs if is_semi else 0,
    schedule_by=config.semi.schedule_by,
  )
  options = None
  if is_semi and config.contrast.weight:
    if not config.model.rep_channels:
      raise ValueError(
        "model.rep_channels=0 leaves no representation to contrast; set it, or"
        " contrast.weight=0"
      )
    options = _contrast_options(config.contrast, dataset.num_classes)
  return Experiment(
    config=config,
    mesh=mesh,
    dataset=dataset,
    split=split,
    timeline=timeline,
    model=deeplab.create_model(num_classes=dataset.num_classes, **config.model),
    tx=optim.create_optimizer(total_steps=timeline.total_steps, **config.optim),
    contrast_options=options,
  )


def _contrast_options(
  section: config_dict.ConfigDict, num_classes: int
) -> contrast.ContrastOptions:
  settings = section.to_dict()
  for key in ("bank_capacity", "bank_capacity_class0", "bank_dtype"):
    del settings[key]
  return contrast.ContrastOptions(num_classes=num_classes, **settings)


def create_state(experiment: Experiment) -> train_state.TrainState:
  """The state at step 0, laid out over the mesh."""
  config = experiment.config
  capacity = ()
  if experiment.contrast_options is not None:
    others = experiment.dataset.num_classes - 1
    capacity = (config.contrast.bank_capacity_class0,)
    capacity += (config.contrast.bank_capacity,) * others

  def create(key: jax.Array) -> train_state.TrainState:
    return train_state.create_train_state(
      key,
      experiment.model,
      experiment.tx,
      image_size=tuple(config.data.crop_size),
      teacher_init=config.semi.teacher_init if experiment.is_semi else None,
      bank_capacity=capacity,
      bank_dtype=jnp.dtype(config.contrast.bank_dtype),
    )

  state = sharding.create_sharded(
    create, experiment.mesh, jax.random.key(config.seed)
  )
  # A copy of the student must not share its buffers: the step donates both.
  return jax.tree.map(jnp.copy, state)


def create_train_step(experiment: Experiment) -> Callable:
  """step(state, batch) -> (state, metrics), jitted, `state` donated."""
  config, semi = experiment.config, experiment.config.semi
  loss = supervised.make_supervised_loss(
    kind=config.loss.kind,
    ohem_threshold=config.loss.ohem_threshold,
    ohem_min_kept=config.loss.ohem_min_kept,
  )
  step = train_step.make_supervised_step(
    experiment.model,
    experiment.tx,
    loss=loss,
    aux_weight=config.loss.aux_weight,
    teacher_dropout=semi.teacher_dropout,
    teacher_batch_stats=semi.teacher_batch_stats,
  )
  if experiment.is_semi:
    semi_step = train_step.make_semi_step(
      experiment.model,
      experiment.tx,
      experiment.timeline,
      loss=loss,
      aux_weight=config.loss.aux_weight,
      strong_augment=config.augment.to_dict(),
      unsupervised_weight=semi.unsupervised_weight,
      drop_percent=semi.drop_percent,
      unreliable_percent=semi.unreliable_percent,
      reliable=semi.reliable,
      teacher_dropout=semi.teacher_dropout,
      teacher_batch_stats=semi.teacher_batch_stats,
      teacher_first_epoch=semi.teacher_first_epoch,
      ema_decay=semi.ema_decay,
      contrast_options=experiment.contrast_options,
    )
    step = train_step.make_phased_step(
      step, semi_step, experiment.timeline.first_semi_step
    )
  whole = sharding.replicate(experiment.mesh)
  jitted = jax.jit(
    step,
    in_shardings=(whole, sharding.split_batch(experiment.mesh), whole),
    out_shardings=whole,
    donate_argnums=0,
  )
  base_rng = jax.random.fold_in(jax.random.key(config.seed), 1)
  base_rng = jax.device_put(base_rng, whole)
  return lambda state, batch: jitted(state, batch, base_rng)


def train_batches(
  experiment: Experiment, start_step: int
) -> Iterator[dict[str, np.ndarray]]:
  """This process's part of every batch from `start_step` on."""
  data = experiment.config.data
  return input_pipeline.make_train_iterator(
    experiment.dataset,
    experiment.split,
    batch_size_l=data.batch_size_l,
    batch_size_u=data.batch_size_u if experiment.is_semi else 0,
    crop_size=tuple(data.crop_size),
    scale_range=tuple(data.scale_range),
    flip_prob=data.flip_prob,
    pad_label=data.pad_label,
    seed=experiment.config.seed,
    start_step=start_step,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    num_workers=data.num_workers or None,
  )


def eval_batches(experiment: Experiment) -> input_pipeline.EvalBatches:
  """This process's part of the validation set, re-iterable."""
  config = experiment.config
  return input_pipeline.make_eval_batches(
    experiment.dataset,
    batch_size=config.eval.batch_size,
    crop_size=tuple(config.eval.crop_size),
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    num_workers=config.data.num_workers or None,
  )
