"""A network, batches and settings small enough to compile in a test."""

import jax
import numpy as np

from u2pl_jax import methods
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import timeline
from u2pl_jax.models import network
from u2pl_jax.training import optim, train_state, train_step

NUM_CLASSES = 5
SIZE = (33, 33)
STEPS_PER_EPOCH = 2
MAX_KEYS = 16
# Of the network, as the config calls them.
SETTINGS = {
  "model.encoder": "tests.small_encoder",
  "encoder.width": 4,
  "decoder.channels": 8,
  "decoder.low_level_channels": 4,
  "decoder.rep_channels": 6,
  "decoder.aspp_rates": (1,),
}
# Of U2PL.
U2PL_SETTINGS = {
  "contrast.num_anchors": 4,
  "contrast.num_negatives": 7,
  # An untrained network gives every class about 0.2.
  "contrast.min_anchor_prob": 0.15,
  "contrast.low_rank": 2,
  "contrast.weight": 0.1,
  "contrast.max_keys_per_class": MAX_KEYS,
  "contrast.bank_capacity": 40,
  "contrast.bank_capacity_class0": 40,
}
KEY = jax.random.key(0)


def make_sections(**changes):
  """The config's sections of the network, with keys like "encoder.width"."""
  settings = SETTINGS | changes
  sections = network.sections(settings["model.encoder"])
  for key, value in settings.items():
    section, name = key.split(".")
    assert name in sections[section], key
    sections[section][name] = value
  return sections


def make_model(num_classes=NUM_CLASSES, **changes):
  changes = {"decoder.dropout_rate": 0.0} | changes
  return network.create(make_sections(**changes), num_classes)


def make_tx(learning_rate=0.01):
  settings = optim.OptimOptions(learning_rate=learning_rate)
  return optim.create_optimizer(
    settings, learning_rate=learning_rate, total_steps=100
  )


def make_timeline():
  return timeline.Timeline(steps_per_epoch=STEPS_PER_EPOCH, num_epochs=4)


def make_parts(model, *, loss=None, accumulate_steps=1, batch_size=2):
  return method_lib.Parts(
    model=model,
    supervised_loss=loss
    or pixelwise.make_supervised_loss(pixelwise.LossOptions()),
    timeline=make_timeline(),
    class_names=tuple("abcde"),
    num_unlabeled=2 * batch_size,
    batch_size_l=batch_size,
    batch_size_u=batch_size,
    accumulate_steps=accumulate_steps,
  )


def make_options(recipe="paper", **changes):
  """U2PL's options of a recipe, but for sizes that suit a tiny network.

  Args:
    recipe: as shipped, of a run with two labeled images a GPU.
    **changes: keys like "contrast.weight".
  """
  module = methods.find("u2pl")
  published = method_lib.Published(num_gpus=4, batch_size_l=8)
  settings = module.recipes(published)[recipe] | U2PL_SETTINGS | changes
  made = []
  for section in module.OPTIONS:
    prefix = f"{section.SECTION}."
    chosen = {
      key.removeprefix(prefix): settings[key]
      for key in settings
      if key.startswith(prefix)
    }
    made.append(section.make(section.defaults() | chosen))
  return made


def make_phases(model, recipe="paper", *, parts=None, **changes):
  """The supervised and the semi-supervised phase, of one and three epochs."""
  module = methods.find("u2pl")
  options = make_options(recipe, **changes)
  return module.create(parts or make_parts(model), *options)


def make_step(model, tx, phase, *, accumulate_steps=1):
  """The step of a phase, compiled."""
  return jax.jit(
    train_step.make_step(
      model, tx, phase.method, accumulate_steps=accumulate_steps
    )
  )


def make_state(model, tx, phases, phase=None):
  """The state as a phase begins, the first one if none is named."""
  state = train_state.create_train_state(KEY, model, tx, phases[0])
  if phase is None or phase is phases[0]:
    return state
  state = train_state.begin_phase(state, phase, KEY)
  return state.replace(step=state.step + phase.first_step)


def make_semi(model, tx, recipe="paper", *, parts=None, **changes):
  """The semi-supervised step of a run without others, and its first state."""
  changes = {"semi.supervised_epochs": 0} | changes
  phases = make_phases(model, recipe, parts=parts, **changes)
  count = 1 if parts is None else parts.accumulate_steps
  step = make_step(model, tx, phases[0], accumulate_steps=count)
  return step, make_state(model, tx, phases)


def make_batch(seed=0, batch_size=2, num_classes=NUM_CLASSES):
  """Random images; labels of all classes and some ignored pixels."""
  rng = np.random.default_rng(seed)
  shape = (batch_size, *SIZE)
  labels = rng.integers(0, num_classes, shape).astype(np.uint8)
  return {
    "image_l": rng.integers(0, 256, (*shape, 3), np.uint8),
    "label_l": np.where(rng.random(shape) < 0.1, 255, labels).astype(np.uint8),
    "image_u": rng.integers(0, 256, (*shape, 3), np.uint8),
  }
