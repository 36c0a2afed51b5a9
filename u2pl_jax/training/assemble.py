"""From a config to the programs of a run, for which no data is needed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from u2pl_jax import methods
from u2pl_jax.data import options as data_options
from u2pl_jax.evaluation import options as eval_options
from u2pl_jax.losses import class_weights, pixelwise
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.models import network
from u2pl_jax.training import optim, programs
from u2pl_jax.training import options as training_options

# Of every config, beside those of its network and its method.
SECTIONS = (
  data_options.DataOptions,
  pixelwise.LossOptions,
  optim.OptimOptions,
  training_options.TrainOptions,
  eval_options.EvalOptions,
  training_options.CheckpointOptions,
  training_options.LogOptions,
)


def create_programs(
  config: Mapping[str, Any],
  class_names: Sequence[str],
  num_unlabeled: int,
  timeline: timeline_lib.Timeline,
  mesh: jax.sharding.Mesh,
  count_pixels: Callable[[], np.ndarray] | None = None,
) -> programs.Programs:
  """The network, the optimizer, and the phases of the method.

  Args:
    config: the whole config, nested.
    class_names: of all K.
    num_unlabeled: length of the unlabeled list.
    timeline: length of the run.
    mesh: of the devices.
    count_pixels: pixels of each class that are labeled, [K] integers; called
      where the config asks for weights by them. None where none are known.

  Raises:
    ValueError: one line that names the key.
  """
  run = training_options.RunOptions.read(config)
  data = data_options.DataOptions.read(config)
  settings = optim.OptimOptions.read(config)
  loss = pixelwise.LossOptions.read(config)
  weights = class_weights.choose(loss.class_weights, class_names, count_pixels)
  model = network.create(config, len(class_names))
  optim.check_groups(model.variable_shapes()["params"], tuple(settings.factors))
  parts = method_lib.Parts(
    model=model,
    supervised_loss=pixelwise.make_supervised_loss(loss, weights),
    timeline=timeline,
    class_names=tuple(class_names),
    num_unlabeled=num_unlabeled,
    batch_size_l=data.batch_size_l,
    batch_size_u=data.batch_size_u,
    accumulate_steps=settings.accumulate_steps,
  )
  module = methods.find(run.method)
  chosen = [section.read(config) for section in module.OPTIONS]
  return programs.Programs(
    model=model,
    tx=optim.create_optimizer(
      settings,
      learning_rate=settings.base_rate(data.batch_size_l),
      total_steps=timeline.total_steps,
      idle=model.idle,
    ),
    phases=module.create(parts, *chosen),
    mesh=mesh,
    seed=run.seed,
    accumulate_steps=settings.accumulate_steps,
  )
