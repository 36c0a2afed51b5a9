"""A method in forty lines: a mean teacher that asks for consistency."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax.data import supply
from u2pl_jax.methods import method, teacher
from u2pl_jax.models import forward
from u2pl_jax.runtime import options

TITLE = "toy"
USES_REPRESENTATION = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyOptions(options.Options):
  SECTION = "toy"

  weight: float = options.setting(0.5, minimum=0)


OPTIONS = (ToyOptions,)


@flax.struct.dataclass
class Memory:
  teacher: dict


def recipes(published):
  del published
  return {"plain": {}}


def create(parts, toy):
  def teach(memory, student, batch, keys, step):
    del student, keys, step
    images_u = parts.model.normalize(batch["image_u"])
    probs = jax.nn.softmax(
      forward.make_net(parts.model, memory.teacher)(images_u)
    )
    images = parts.model.normalize(batch["image_l"])
    views = (method.View(images), method.View(images_u))
    targets = batch["label_l"].astype(jnp.int32), probs
    return method.Lesson(views, targets), memory, {"toy/sure": probs.max()}

  def losses(outputs, lesson):
    labels, probs = lesson.targets
    mean = jax.nn.softmax(outputs[1]["logits"]).mean((0, 1, 2))
    return {
      "supervised": parts.supervised_loss(outputs[0], labels),
      "consistency": toy.weight * jnp.sum((mean - probs.mean((0, 1, 2))) ** 2),
    }

  def follow(memory, student, step):
    decay = teacher.ema_decay(step + 1, 0.9)
    moved = teacher.ema_update(memory.teacher, dict(student), decay)
    return Memory(moved), {"toy/decay": decay}

  toy_method = method.Method(
    teach, losses, init=lambda key, student: Memory(dict(student)),
    follow=follow,
    taught=lambda entropy, step: entropy < 1.0,
  )  # fmt: skip
  taught_from = supply.Supply(unlabeled=True)
  return (method.Phase("toy", 0, toy_method, taught_from, network="teacher"),)
