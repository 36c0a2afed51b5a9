"""A network, batches and options small enough to compile in a test."""

import numpy as np

from configs import common
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import contrast
from u2pl_jax.models.decoders import deeplab
from u2pl_jax.training import optim, step_options, train_state, train_step

NUM_CLASSES = 5
SIZE = (33, 33)
STEPS_PER_EPOCH = 2
MAX_KEYS = 16
OPTIONS = dict(
  num_classes=NUM_CLASSES,
  encoder="resnet18",
  width=4,
  output_stride=16,
  multi_grid=False,
  decoder_channels=8,
  low_level_channels=4,
  rep_channels=6,
  aspp_rates=(1,),
)


def recipe_settings(recipe, section):
  """What a shipped recipe sets in one section of the config."""
  return {
    key.removeprefix(f"{section}."): value
    for key, value in common.RECIPES[recipe].items()
    if key.startswith(f"{section}.")
  }


def make_model(**changes):
  return deeplab.create_model(**(OPTIONS | {"dropout_rate": 0.0} | changes))


def make_tx(learning_rate=0.01):
  return optim.create_optimizer(
    learning_rate=learning_rate,
    head_factor=10.0,
    power=0.9,
    momentum=0.9,
    weight_decay=1e-4,
    total_steps=100,
  )


def make_timeline(supervised_epochs=1):
  return timeline_lib.Timeline(
    steps_per_epoch=STEPS_PER_EPOCH,
    num_epochs=4,
    supervised_epochs=supervised_epochs,
  )


def make_contrast_options(recipe="paper", **changes):
  """Options of a recipe, but for sizes that suit a tiny network."""
  settings = recipe_settings(recipe, "contrast") | dict(
    num_classes=NUM_CLASSES,
    weight=0.1,
    num_anchors=4,
    num_negatives=7,
    temperature=0.5,
    # An untrained network gives every class about 0.2.
    min_anchor_prob=0.15,
    low_rank=2,
    high_rank=20,
    max_keys_per_class=MAX_KEYS,
    label_stack={"paper": 1, "reference": 2}[recipe],
  )
  return contrast.ContrastOptions(**(settings | changes))


def make_step_options(recipe="paper", **changes):
  """Options of a recipe, but for the contrastive ones of a tiny network."""
  settings = recipe_settings(recipe, "semi") | dict(
    loss=pixelwise.cross_entropy,
    aux_weight=0.4,
    strong_augment=dict(mode="cutmix", probability=0.5),
    unsupervised_weight=1.0,
    drop_percent=80.0,
    unreliable_percent=20.0,
    teacher_batch_stats="forward",
    ema_decay=0.99,
    contrast=make_contrast_options(recipe),
    accumulate_steps=1,
  )
  del settings["teacher_init"]  # Of the state, not of the step.
  return step_options.StepOptions(**(settings | changes))


def make_steps(model, tx, recipe="paper", *, supervised_epochs=1, **changes):
  """The supervised and the semi step of a run of four epochs of two steps."""
  options = make_step_options(recipe, **changes)
  supervised_step = train_step.make_supervised_step(model, tx, options)
  timeline = make_timeline(supervised_epochs)
  semi_step = train_step.make_semi_step(model, tx, timeline, options)
  return supervised_step, semi_step


def make_state(key, model, tx, *, teacher_init="student", bank_rows=40):
  """With spare rows in the bank for two parts of a batch."""
  return train_state.create_train_state(
    key,
    model,
    tx,
    image_size=SIZE,
    teacher_init=teacher_init,
    bank_capacity=(bank_rows,) * NUM_CLASSES,
    bank_spare=2 * MAX_KEYS,
  )


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
