"""The contrastive term on inputs recorded from the published code.

Recorded are the teacher's probabilities, not its logits.
"""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np

from tests import tiny
from tests.parity import golden
from u2pl_jax.methods.u2pl import contrast, memory_bank

# What a recorded call starts from; the last ones of `replay`'s arguments.
INPUTS = (
  "rep", "rep_teacher", "prob", "label_small", "low_mask", "high_mask",
  "num_labeled",
)  # fmt: skip


def recorded_settings(config):
  """What all recordings say of the loss, by the names it has here."""
  return dict(
    num_anchors=config["num_queries"],
    num_negatives=config["num_negatives"],
    low_rank=config["low_rank"],
    high_rank=config["high_rank"],
    temperature=config["temperature"],
    min_anchor_prob=config["current_class_threshold"],
  )


# Which pixels are keys by the published code, and by the paper.
KEY_RULES = {
  "reference": dict(labeled_negatives=False, own_pseudo_label=True),
  "paper": dict(labeled_negatives=True, own_pseudo_label=False),
}


def make_options(config_json, max_keys, keys="reference"):
  """The published code's, all numbers as recorded; the keys by `KEY_RULES`."""
  config = json.loads(str(config_json))
  settings = (
    recorded_settings(config)
    | KEY_RULES[keys]
    | {
      "max_negative_prob": config["current_class_negative_threshold"],
      "weight": 1.0,
      "max_keys_per_class": max_keys,
      "label_stack": 1,
    }
  )
  changes = {f"contrast.{name}": value for name, value in settings.items()}
  _, options, _ = tiny.make_options("reference", **changes)
  return options


def make_inputs(rep, rep_teacher, prob, label_small, *masks_and_count):
  """rep [B, h, w, D], the teacher's (probs, rep), pixels of a recorded call."""
  low_mask, high_mask, num_labeled = masks_and_count
  rep, rep_teacher, prob = map(golden.channels_last, (rep, rep_teacher, prob))
  shape = (len(label_small), label_small[0].size)
  image = np.broadcast_to(np.arange(len(label_small))[:, None], shape)
  pixels = contrast.Pixels(
    is_class=label_small.reshape(*shape, 1) == np.arange(prob.shape[-1]),
    is_labeled=image < num_labeled,
    reliable=low_mask.reshape(shape) > 0,
    unreliable=high_mask.reshape(shape) > 0,
  )
  return rep, (prob, rep_teacher), pixels


def make_bank(queue_size, width, max_keys):
  """An empty bank; rows that `max_keys` keys can never reach are left out."""
  return memory_bank.create_memory_bank(np.minimum(queue_size, max_keys), width)


def first_ones(key, count, shape):
  """The arange sampler: ranks 0, 1, 2, ... modulo the count."""
  del key
  ranks = jnp.arange(math.prod(shape), dtype=jnp.int32).reshape(1, *shape)
  return ranks % jnp.maximum(count, 1).reshape(-1, *(1 for _ in shape))


def prepare(bank, teacher, pixels, options):
  """`contrast.prepare` with the first ranks in the place of draws."""
  return contrast.prepare(
    jax.random.key(0), bank, *teacher, pixels, options, first_ones
  )


def pair_by_position(plan):
  """The plan by the published pairing, wrong as soon as a class is absent.

  With n classes present, anchors and positive of class i, for each i < n,
  meet the bank of the i-th class present.

  Returns:
    [K] int32, whose bank each class meets, and the plan.
  """
  # What is read from an empty bank is zero.
  is_filled = jnp.any(plan.keys[plan.negatives] != 0, axis=(1, 2, 3))
  partner = jnp.argsort(~plan.present, stable=True)  # Those present first.
  contributes = (
    (jnp.arange(len(partner)) < jnp.sum(plan.present))
    & jnp.any(plan.anchors, axis=(0, 1))
    & is_filled[partner]
  )
  return partner, plan.replace(
    negatives=plan.negatives[partner], contributes=contributes
  )
