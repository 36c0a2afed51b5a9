"""A moving average of the student labels the weak views (UniMatch V2)."""

import dataclasses
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax.data import supply
from u2pl_jax.methods import method, pictures
from u2pl_jax.methods import teacher as teacher_lib
from u2pl_jax.methods.consistency import (
  illustration,
  settings,
  targets,
  views,
)
from u2pl_jax.models import forward
from u2pl_jax.ops import boxes, interleave


@flax.struct.dataclass
class Memory:
  """What is kept from step to step.

  Attributes:
    teacher: {"params", "batch_stats"}.
  """

  teacher: method.Variables


@flax.struct.dataclass
class Targets:
  """What the student's outputs are compared with.

  Attributes:
    labels_l: [B_l, H, W] int32.
    strong: of each strong view, mixed as it is.
    masks: [B_u, H, W] bool of each strong view, true in its box.
  """

  labels_l: jax.Array
  strong: tuple[targets.Guess, ...]
  masks: tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class TeacherTaught:
  """The functions of the method, over its settings.

  Attributes:
    parts: of the run.
    settings: shared ones.
    draw: of each step.
    strong_weight: of the mean loss on strong views.
    ema_decay: the largest one of the teacher.
    joins_labeled: whether the student sees labeled images and strong views in
      one pass; otherwise in two.
  """

  parts: method.Parts
  settings: settings.ConsistencyOptions
  draw: views.Draw
  strong_weight: float
  ema_decay: float
  joins_labeled: bool = False

  def as_phases(self) -> tuple[method.Phase, ...]:
    """The one phase there is."""
    return (
      method.Phase(
        "semi",
        0,
        method.Method(
          self.teach,
          self.losses,
          init=lambda key, student: Memory(dict(student)),
          follow=self.follow,
          review=self.review,
          illustrate=self.illustrate,
        ),
        supply.Supply(unlabeled=True, padding=True),
        network="teacher",
      ),
    )

  def teach(
    self,
    memory: Memory,
    student: method.Variables,
    batch: method.Batch,
    keys: Mapping[str, jax.Array],
    step: jax.Array,
  ) -> tuple[method.Lesson, Memory, method.Metrics]:
    """The teacher's labels, and strong views mixed within the batch.

    Reference: UniMatch-V2, unimatch_v2.py (main).
    """
    del student, step
    normalize, groups = self.parts.model.normalize, self.settings.groups
    drawn = self.draw(batch, keys)
    net = forward.make_net(self.parts.model, memory.teacher)
    weak = targets.guess(net(normalize(batch["image_u"])), batch["padding_u"])
    partner = targets.reverse(weak, groups)
    size = weak.labels.shape[1:]
    masks = tuple(boxes.inside(each, size) for each in drawn.boxes)
    others = targets.reverse(drawn.strong, groups)
    images = targets.join(
      [targets.mix(*each) for each in zip(masks, drawn.strong, others)]
    )
    labeled, images = normalize(batch["image_l"]), normalize(images)
    if self.joins_labeled:
      seen = (method.View(interleave.join(labeled, images)),)
    else:
      dropped = {} if drawn.scales is None else {"feature_scales": drawn.scales}
      seen = (method.View(labeled), method.View(images, dropped))
    found = Targets(
      batch["label_l"].astype(jnp.int32),
      tuple(targets.mix(mask, weak, partner) for mask in masks),
      masks,
    )
    metrics = targets.summarize(weak, self.settings.threshold)
    return method.Lesson(seen, found), memory, metrics

  def losses(
    self, outputs: tuple[method.Outputs, ...], lesson: method.Lesson
  ) -> method.Metrics:
    """L_x, and those of the strong views."""
    found = lesson.targets
    if self.joins_labeled:
      labeled = targets.labeled_part(outputs[0], len(found.labels_l))
      _, strong = interleave.part(outputs[0]["logits"], len(found.labels_l))
    else:
      labeled, strong = outputs[0], outputs[1]["logits"]
    supervised = targets.supervised_loss(
      self.parts, labeled, found.labels_l, self.settings.groups
    )
    return {
      "supervised": self.settings.supervised_weight * supervised
    } | targets.strong_losses(
      strong, found.strong, self.settings, self.strong_weight
    )

  def review(self, lesson: method.Lesson, truth: method.Truth) -> method.Review:
    """Labels of the strong views, beside the truth."""
    found = lesson.targets
    return targets.compare(found.masks, found.strong, truth, self.settings)

  def illustrate(
    self, batch: method.Batch, lesson: method.Lesson
  ) -> tuple[pictures.Group, ...]:
    """Weak and strong views, and what is taught on them."""
    found, images = lesson.targets, lesson.views[-1].images
    if self.joins_labeled:
      _, images = interleave.part(images, len(found.labels_l))
    return illustration.illustrate(
      batch,
      found.labels_l,
      targets.part(images, len(found.strong)),
      found.masks,
      found.strong,
      self.settings.threshold,
    )

  def follow(
    self, memory: Memory, student: method.Variables, step: jax.Array
  ) -> tuple[Memory, method.Metrics]:
    """All variables of the teacher move, batch statistics included."""
    decay = teacher_lib.ema_decay(step + 1, self.ema_decay)
    moved = teacher_lib.ema_update(memory.teacher, dict(student), decay)
    return Memory(moved), {"consistency/ema_decay": decay}
