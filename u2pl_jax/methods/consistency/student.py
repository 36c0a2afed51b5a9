"""The student labels the weak views itself (UniMatch, version 1).

It sees labeled images and weak views in one pass, and the labels of that pass,
made with the statistics of that batch, are what it must agree with on strong
views in a second pass. There is no teacher, and nothing is remembered.
"""

import dataclasses
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax.data import supply
from u2pl_jax.methods import method, pictures
from u2pl_jax.methods.consistency import (
  illustration,
  settings,
  targets,
  views,
)
from u2pl_jax.models import forward
from u2pl_jax.ops import boxes, interleave


@flax.struct.dataclass
class Targets:
  """What the student's outputs are compared with.

  Attributes:
    labels_l: [B_l, H, W] int32.
    padding: [B_u, H, W] uint8, 1 on the padding of the weak views.
    masks: [B_u, H, W] bool of each strong view, true in its box.
    partner: of the second images; None where partners are in the batch.
    weak: of the weak views; None before the student has seen them.
    strong: of each strong view, mixed as it is.
  """

  labels_l: jax.Array
  padding: jax.Array
  masks: tuple[jax.Array, ...]
  partner: targets.Guess | None
  weak: targets.Guess | None = None
  strong: tuple[targets.Guess, ...] = ()


@dataclasses.dataclass(frozen=True)
class StudentTaught:
  """The functions of the method, over its settings.

  Attributes:
    parts: of the run.
    settings: shared ones.
    draw: of each step.
    partner: one of `settings.PARTNERS`.
    strong_weight: of the mean loss on strong views.
    perturbed_weight: of the loss on weak views whose features were perturbed.
  """

  parts: method.Parts
  settings: settings.ConsistencyOptions
  draw: views.Draw
  partner: str
  strong_weight: float
  perturbed_weight: float = 0.0

  def as_phases(self) -> tuple[method.Phase, ...]:
    """The one phase there is."""
    second = "same" if self.partner == "same_image" else ""
    return (
      method.Phase(
        "semi",
        0,
        method.Method(
          self.teach,
          self.losses,
          observe=self.observe,
          review=self.review,
          illustrate=self.illustrate,
        ),
        supply.Supply(unlabeled=True, padding=True, second=second),
      ),
    )

  def teach(
    self,
    memory: None,
    student: method.Variables,
    batch: method.Batch,
    keys: Mapping[str, jax.Array],
    step: jax.Array,
  ) -> tuple[method.Lesson, None, method.Metrics]:
    """Strong views, mixed, and what the student makes of the partners.

    Reference: UniMatch, unimatch.py (main): steps 1 and 2 of a batch.
    """
    del step
    normalize = self.parts.model.normalize
    drawn = self.draw(batch, keys)
    groups, size = self.settings.groups, batch["image_u"].shape[1:3]
    masks = tuple(boxes.inside(each, size) for each in drawn.boxes)
    others, partner = drawn.partners, None
    if others is None:
      others = targets.reverse(drawn.strong, groups)
    else:
      # In eval mode, with the statistics that the last step left.
      net = forward.make_net(self.parts.model, student)
      logits = net(normalize(batch["image_u2"]))
      partner = targets.guess(logits, batch["padding_u2"])
    strong = [targets.mix(*each) for each in zip(masks, drawn.strong, others)]
    weak = interleave.join(
      normalize(batch["image_l"]), normalize(batch["image_u"])
    )
    perturbed = (
      {} if drawn.scales is None else {"perturbed_scales": drawn.scales}
    )
    lesson = method.Lesson(
      views=(
        method.View(weak, perturbed),
        method.View(normalize(targets.join(strong))),
      ),
      targets=Targets(
        batch["label_l"].astype(jnp.int32), batch["padding_u"], masks, partner
      ),
    )
    return lesson, memory, {}

  def observe(
    self,
    memory: None,
    outputs: tuple[method.Outputs, ...],
    lesson: method.Lesson,
  ) -> tuple[method.Lesson, None, method.Metrics]:
    """The labels that the student gave the weak views become targets."""
    found = lesson.targets
    _, logits = interleave.part(outputs[0]["logits"], len(found.labels_l))
    weak = targets.guess(logits, found.padding)
    partner = found.partner
    if partner is None:
      partner = targets.reverse(weak, self.settings.groups)
    strong = tuple(targets.mix(mask, weak, partner) for mask in found.masks)
    lesson = lesson.replace(targets=found.replace(weak=weak, strong=strong))
    return lesson, memory, targets.summarize(weak, self.settings.threshold)

  def review(self, lesson: method.Lesson, truth: method.Truth) -> method.Review:
    """Labels of all views that they are taught on, beside the truth."""
    found, options = lesson.targets, self.settings
    seen = targets.compare(found.masks, found.strong, truth, options)
    if not self.perturbed_weight:
      return seen
    weak = targets.taught_labels(found.weak, options.threshold)
    return seen.replace(taught=(*seen.taught, (weak, truth["label_u"])))

  def illustrate(
    self, batch: method.Batch, lesson: method.Lesson
  ) -> tuple[pictures.Group, ...]:
    """Weak and strong views, and what is taught on them."""
    found = lesson.targets
    return illustration.illustrate(
      batch,
      found.labels_l,
      targets.part(lesson.views[1].images, len(found.strong)),
      found.masks,
      found.strong,
      self.settings.threshold,
      found.weak if self.perturbed_weight else None,
    )

  def losses(
    self, outputs: tuple[method.Outputs, ...], lesson: method.Lesson
  ) -> method.Metrics:
    """L_x, those of the strong views, and that of the perturbed features."""
    found, (first, second) = lesson.targets, outputs
    labeled = targets.labeled_part(first, len(found.labels_l))
    losses = {
      "supervised": self.settings.supervised_weight
      * targets.supervised_loss(
        self.parts, labeled, found.labels_l, self.settings.groups
      )
    }
    losses |= targets.strong_losses(
      second["logits"], found.strong, self.settings, self.strong_weight
    )
    if self.perturbed_weight:
      # The perturbed labeled images shape statistics and nothing else.
      _, logits = interleave.part(first["perturbed"], len(found.labels_l))
      losses["perturbed"] = self.perturbed_weight * targets.consistency_loss(
        logits, found.weak, self.settings.threshold, self.settings.groups
      )
    return losses
