"""Labels alone: the baseline, and how other methods begin.

Reference: algorithm section 2; `train_sup.py`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from u2pl_jax.methods import method, pictures

NAMES = ("suponly",)
TITLE = "labeled images only"
OPTIONS = ()
USES_REPRESENTATION = False


def recipes(published: method.Published) -> dict[str, Mapping[str, Any]]:
  """What differs even without unlabeled images.

  OHEM keeps at least 100,000 pixels, of which batch the paper does not say. The
  published code counts them on each GPU, which has few of the images.
  """
  return {
    "paper": {"data.pad_label": 255, "loss.ohem_min_kept": 100_000},
    "reference": {
      "data.pad_label": 0,
      "loss.ohem_min_kept": 100_000 * published.num_gpus,
    },
  }


def make_method(parts: method.Parts) -> method.Method:
  """The student sees the labeled images and is measured by their labels."""

  def teach(memory, student, batch, keys, step):
    del student, keys, step
    view = method.View(parts.model.normalize(batch["image_l"]))
    labels = batch["label_l"].astype(jnp.int32)
    return method.Lesson((view,), labels), memory, {}

  def losses(outputs, lesson):
    return {"supervised": parts.supervised_loss(outputs[0], lesson.targets)}

  def illustrate(batch, lesson):
    del batch
    return (pictures.of_labeled(lesson.views[0].images, lesson.targets),)

  return method.Method(teach, losses, illustrate=illustrate)


def create(parts: method.Parts) -> tuple[method.Phase, ...]:
  """One phase, in which nothing is remembered."""
  return (method.Phase("supervised", 0, make_method(parts)),)
