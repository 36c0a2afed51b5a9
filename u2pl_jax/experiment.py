"""From a config to the parts of a run: the one reader of `ConfigDict`.

Everything below takes plain keyword arguments; sections of the config are
passed whole, so that a key nobody knows raises.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import config_dict

from u2pl_jax import config_values
from u2pl_jax.data import datasets, eval_pipeline, input_pipeline
from u2pl_jax.evaluation import protocol
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import contrast
from u2pl_jax.models import pretrained
from u2pl_jax.models.decoders import deeplab
from u2pl_jax.runtime import sharding
from u2pl_jax.training import optim, step_options, train_state, train_step


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
    protocol: of evaluation.
    contrast_options: None without the contrastive loss.
  """

  config: config_dict.ConfigDict
  mesh: jax.sharding.Mesh
  dataset: datasets.Dataset
  split: datasets.Split
  timeline: timeline_lib.Timeline
  model: nn.Module
  tx: optax.GradientTransformation
  protocol: protocol.Protocol
  contrast_options: contrast.ContrastOptions | None

  @property
  def is_semi(self) -> bool:
    return self.config.method == "u2pl"

  def is_semi_step(self, index: int) -> bool:
    """Whether the update after `index` others uses unlabelled images."""
    return self.is_semi and index >= self.timeline.first_semi_step

  def images_at_step(self, index: int) -> int:
    """Images of the global batch that this update trains on."""
    data = self.config.data
    return data.batch_size_l + data.batch_size_u * self.is_semi_step(index)

  def evaluated_network(self, step: int) -> str:
    """Which one counts after `step` updates, "teacher" or "student"."""
    is_taught = step > 0 and self.is_semi_step(step - 1)
    return "teacher" if is_taught else "student"


def create_experiment(
  config: config_dict.ConfigDict, *, trains: bool = True
) -> Experiment:
  """Builds and checks the parts; nothing is compiled or written yet.

  Args:
    config: the whole config.
    trains: whether its batches are to be trained on, and must hence divide
      among the devices.

  Raises:
    ValueError, FileNotFoundError: one line that names the key or file.
  """
  config_values.check_values(config.to_dict())
  is_semi = config.method == "u2pl"
  mesh = sharding.create_mesh(tuple(config.mesh))
  sharding.check_divisible("eval.batch_size", config.eval.batch_size, mesh)
  if trains:
    for name in ("batch_size_l",) + ("batch_size_u",) * is_semi:
      sharding.check_divisible(
        f"data.{name}", config.data[name], mesh, config.optim.accumulate_steps
      )
  dataset = datasets.open_dataset(config.data.name, config.data.data_dir)
  split = datasets.read_split(dataset, config.data.split)
  input_pipeline.check_batch_sizes(
    split, config.data.batch_size_l, config.data.batch_size_u, 1
  )
  timeline = timeline_lib.Timeline(
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
    options = _contrast_options(config, dataset.num_classes)
  return Experiment(
    config=config,
    mesh=mesh,
    dataset=dataset,
    split=split,
    timeline=timeline,
    model=_create_model(config, dataset.num_classes),
    tx=_create_optimizer(config, timeline.total_steps),
    protocol=create_protocol(config.eval),
    contrast_options=options,
  )


def _create_optimizer(
  config: config_dict.ConfigDict, total_steps: int
) -> optax.GradientTransformation:
  settings = config.optim.to_dict()
  for key in ("lr_per_16", "accumulate_steps"):
    del settings[key]
  settings["learning_rate"] = learning_rate(config)
  return optim.create_optimizer(total_steps=total_steps, **settings)


def learning_rate(config: config_dict.ConfigDict) -> float:
  """Of the encoder at the start, scaled by the batch if `lr_per_16` says so."""
  scale = config.data.batch_size_l / 16 if config.optim.lr_per_16 else 1.0
  return config.optim.learning_rate * scale


def _create_model(
  config: config_dict.ConfigDict, num_classes: int
) -> deeplab.DeepLabV3Plus:
  settings = config.model.to_dict()
  del settings["pretrained"]
  return deeplab.create_model(num_classes=num_classes, **settings)


def create_protocol(settings: Mapping[str, Any]) -> protocol.Protocol:
  """The protocol that a config's section `eval` describes."""
  return protocol.Protocol(
    kind=settings["protocol"],
    window=tuple(settings["crop_size"]),
    scales=tuple(settings["scales"]),
    flip=settings["flip"],
    base_size=settings["base_size"],
    stride_rate=settings["stride_rate"],
  )


def _contrast_options(
  config: config_dict.ConfigDict, num_classes: int
) -> contrast.ContrastOptions:
  settings = config.contrast.to_dict()
  for key in ("bank_capacity", "bank_capacity_class0", "bank_dtype"):
    del settings[key]
  options = contrast.ContrastOptions(num_classes=num_classes, **settings)
  for name in ("batch_size_l", "batch_size_u"):
    part = config.data[name] // config.optim.accumulate_steps
    if part % options.label_stack:
      raise ValueError(
        f"contrast.label_stack={options.label_stack} does not divide"
        f" data.{name}/optim.accumulate_steps={part}"
      )
  return options


def _initialize(
  experiment: Experiment, key: jax.Array
) -> train_state.TrainState:
  config = experiment.config
  capacity = ()
  if experiment.contrast_options is not None:
    others = experiment.dataset.num_classes - 1
    capacity = (config.contrast.bank_capacity_class0,)
    capacity += (config.contrast.bank_capacity,) * others
  return train_state.create_train_state(
    key,
    experiment.model,
    experiment.tx,
    image_size=tuple(config.data.crop_size),
    teacher_init=config.semi.teacher_init if experiment.is_semi else None,
    bank_capacity=capacity,
    bank_dtype=jnp.dtype(config.contrast.bank_dtype),
    bank_spare=config.contrast.max_keys_per_class
    * config.optim.accumulate_steps,
  )


def load_pretrained(experiment: Experiment) -> pretrained.Pretrained | None:
  """What student and teacher start from, if `model.pretrained` names a file.

  Raises:
    ValueError, FileNotFoundError: one line that names the file, and lists what
      does not fit.
  """
  path = experiment.config.model.pretrained
  if not path:
    return None
  state = abstract_state(experiment)
  return pretrained.load_pretrained(path, state.student_variables)


def create_state(experiment: Experiment) -> train_state.TrainState:
  """The state at step 0, laid out over the mesh.

  Raises:
    ValueError, FileNotFoundError: see `load_pretrained`.
  """
  initialize = jax.jit(
    functools.partial(_initialize, experiment),
    out_shardings=_state_sharding(experiment),
  )
  state = initialize(jax.random.key(experiment.config.seed))
  # A copy of the student must not share its buffers: the step donates both.
  state = jax.tree.map(jnp.copy, state)
  weights = load_pretrained(experiment)
  if weights is not None:
    state = train_state.start_from(state, weights.variables)
  return state


def abstract_state(experiment: Experiment) -> train_state.TrainState:
  """Shapes, dtypes and shardings of the state; nothing is computed."""
  shapes = jax.eval_shape(
    functools.partial(_initialize, experiment), jax.random.key(0)
  )
  return jax.tree.map(
    lambda leaf, where: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=where
    ),
    shapes,
    train_state.state_sharding(shapes, experiment.mesh),
  )


def _state_sharding(experiment: Experiment) -> train_state.TrainState:
  return jax.tree.map(lambda leaf: leaf.sharding, abstract_state(experiment))


def create_train_step(experiment: Experiment) -> Callable:
  """step(index, state, batch) -> (state, metrics) with `state` donated.

  `index` is the number of updates made before, on the host. It picks one of
  two programs, each compiled once: the supervised step before the first
  semi-supervised epoch, the semi step from it on. (A `lax.cond` around both
  would run its branches on a single core on CPUs.)
  """
  programs = _jit_steps(experiment)
  base_rng = jax.jit(
    functools.partial(_base_rng, experiment),
    out_shardings=sharding.replicate(experiment.mesh),
  )()

  def step(index, state, batch):
    name = "semi" if experiment.is_semi_step(index) else "supervised"
    with jax.set_mesh(experiment.mesh):
      return programs[name](state, batch, base_rng)

  return step


def lower_steps(experiment: Experiment) -> dict[str, jax.stages.Lowered]:
  """The programs of the run, to be compiled ahead of time; nothing is computed.

  Returns:
    "supervised", unless every step is a semi step, and "semi" with U2PL.
  """
  config = experiment.config.data
  split = sharding.split_batch(experiment.mesh)

  def images(batch_size, *channels):
    shape = (batch_size, *config.crop_size, *channels)
    return jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=split)

  batch = {
    "image_l": images(config.batch_size_l, 3),
    "label_l": images(config.batch_size_l),
  }
  if experiment.is_semi:
    batch["image_u"] = images(config.batch_size_u, 3)
  rng = jax.eval_shape(functools.partial(_base_rng, experiment))
  programs = _jit_steps(experiment)
  if experiment.is_semi_step(0):
    del programs["supervised"]
  with jax.set_mesh(experiment.mesh):
    return {
      name: program.lower(abstract_state(experiment), batch, rng)
      for name, program in programs.items()
    }


def _base_rng(experiment: Experiment) -> jax.Array:
  return jax.random.fold_in(jax.random.key(experiment.config.seed), 1)


def _jit_steps(experiment: Experiment) -> dict[str, Callable]:
  """step(state, batch, base_rng) by name, for the mesh, `state` donated."""
  model, tx = experiment.model, experiment.tx
  options = _step_options(experiment)
  steps = {"supervised": train_step.make_supervised_step(model, tx, options)}
  if experiment.is_semi:
    steps["semi"] = train_step.make_semi_step(
      model, tx, experiment.timeline, options
    )
  whole = sharding.replicate(experiment.mesh)
  split = sharding.split_batch(experiment.mesh)
  of_state = _state_sharding(experiment)
  return {
    name: jax.jit(
      step,
      in_shardings=(of_state, split, whole),
      out_shardings=(of_state, whole),
      donate_argnums=0,
    )
    for name, step in steps.items()
  }


def _step_options(experiment: Experiment) -> step_options.StepOptions:
  config, semi = experiment.config, experiment.config.semi
  return step_options.StepOptions(
    loss=pixelwise.make_supervised_loss(
      kind=config.loss.kind,
      ohem_threshold=config.loss.ohem_threshold,
      ohem_min_kept=config.loss.ohem_min_kept,
    ),
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
    contrast=experiment.contrast_options,
    accumulate_steps=config.optim.accumulate_steps,
  )


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


def eval_batches(experiment: Experiment) -> eval_pipeline.EvalBatches:
  """This process's part of the validation set, re-iterable."""
  config = experiment.config
  return eval_pipeline.make_eval_batches(
    experiment.dataset,
    batch_size=config.eval.batch_size,
    crop_size=experiment.protocol.crop_size,
    max_shapes=config.eval.max_shapes,
    may_pad=not config.eval.base_size,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    num_workers=config.data.num_workers or None,
  )
