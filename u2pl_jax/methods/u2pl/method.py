"""U2PL: reliable pixels as pseudo-labels, unreliable ones as negatives.

Read `_U2PL.teach` beside section 3 of the paper: pseudo-labels, strong
augmentation, partition by entropy, memory bank, anchors; then its losses; then
how the teacher follows.
"""

import dataclasses
import functools
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.data import supply
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import method, pictures, suponly
from u2pl_jax.methods import teacher as teacher_lib
from u2pl_jax.methods.u2pl import (
  contrast,
  illustration,
  partition,
  review,
  schedule,
  settings,
)
from u2pl_jax.methods.u2pl import memory as memory_lib
from u2pl_jax.models import forward
from u2pl_jax.ops import interleave, mixing, percentile, resize, sampling

NAMES = ("u2pl",)
TITLE = "U2PL"
USES_REPRESENTATION = True
OPTIONS = (
  settings.SemiOptions,
  contrast.ContrastOptions,
  settings.AugmentOptions,
)
recipes = settings.recipes


@flax.struct.dataclass
class Targets:
  """What the student's outputs are compared with.

  Attributes:
    labels_l: [B_l, H, W] int32.
    labels_u: [B_u, H, W] int32, pseudo-labels.
    split: of the unlabeled pixels.
    plan: of the contrastive loss; None without.
    own: [B_u, H, W] bool, where an image was not filled from its partner.
  """

  labels_l: jax.Array
  labels_u: jax.Array
  split: partition.Partition
  plan: contrast.Plan | None
  own: jax.Array


def create(
  parts: method.Parts,
  semi: settings.SemiOptions,
  contrast_options: contrast.ContrastOptions,
  augment: settings.AugmentOptions,
  *,
  draw: sampling.Draw = sampling.draw_ranks,
  halves: contrast.Halves = interleave,
) -> tuple[method.Phase, ...]:
  """Supervised epochs, then semi-supervised ones.

  Args:
    parts: of the run.
    semi, contrast_options, augment: settings.
    draw: chooses anchors and negatives.
    halves: joins labeled and unlabeled images to one batch.

  Raises:
    ValueError: settings do not go together; one line that names a key.
  """
  if contrast_options.weight:
    contrast_options.check_run(parts)
  u2pl = _U2PL(parts, semi, contrast_options, augment, draw, halves)
  supervised = suponly.make_method(parts)._replace(taught=u2pl.taught)
  if semi.teacher_init != "at_start":
    supervised = memory_lib.accompany(
      supervised, parts=parts, semi=semi, of=u2pl.as_method()
    )
  phases = (
    method.Phase("supervised", 0, supervised),
    method.Phase(
      "semi",
      u2pl.first_step,
      u2pl.as_method(),
      supply=supply.Supply(unlabeled=True),
      network="teacher",
    ),
  )
  if u2pl.first_step == 0:
    return phases[1:]
  return phases[: 1 + (u2pl.first_step < parts.timeline.total_steps)]


@dataclasses.dataclass(frozen=True)
class _U2PL:
  """The functions of the method, over its settings."""

  parts: method.Parts
  semi: settings.SemiOptions
  contrast: contrast.ContrastOptions
  augment: settings.AugmentOptions
  draw: sampling.Draw
  halves: contrast.Halves

  @property
  def first_step(self) -> int:
    """Of the semi-supervised epochs."""
    return self.semi.first_step(self.parts.timeline)

  def as_method(self) -> method.Method:
    return method.Method(
      teach=self.teach,
      losses=self.losses,
      init=functools.partial(
        memory_lib.make,
        parts=self.parts,
        semi=self.semi,
        contrast_options=self.contrast,
      ),
      start=functools.partial(memory_lib.start, semi=self.semi),
      follow=self.follow,
      restore=memory_lib.restore,
      lay_out=memory_lib.lay_out,
      taught=self.taught,
      review=self.review,
      illustrate=self.illustrate,
    )

  def teach(
    self,
    memory: memory_lib.Memory,
    student: method.Variables,
    batch: method.Batch,
    keys: Mapping[str, jax.Array],
    step: jax.Array,
  ) -> tuple[method.Lesson, memory_lib.Memory, method.Metrics]:
    """The teacher's part: pseudo-labels, their partition, anchors, negatives.

    Reference: paper section 3, algorithm 1; `train_semi.py` (train).
    """
    del student
    labels_l = batch["label_l"].astype(jnp.int32)
    batch_l, size = labels_l.shape[0], labels_l.shape[1:]
    normalize = self.parts.model.normalize

    # The teacher labels the weak view; the strong view is made of it.
    images_u, labels_u, own, confidence = self._strong_view(
      memory.teacher, normalize(batch["image_u"]), keys["augment"]
    )
    images = self.halves.join(normalize(batch["image_l"]), images_u)

    # The teacher in train mode, on what the student sees: which unlabeled
    # pixels are to be trusted?
    outputs, memory = memory_lib.train_pass(
      memory, images, keys["teacher"], parts=self.parts, semi=self.semi
    )
    _, logits_u = self.halves.part(outputs["logits"], batch_l)
    logits_u = resize.resize_bilinear(logits_u, size)
    valid_u = labels_u != IGNORE_LABEL
    percents = self._percents(step)
    split = partition.partition_by_entropy(
      percentile.compute_entropy(logits_u),
      valid_u,
      reliable=self.semi.reliable,
      **percents,
    )
    metrics = partition.summarize(split, valid_u)
    metrics["semi/confidence"] = jnp.mean(confidence)
    metrics |= {f"semi/{name}": value for name, value in percents.items()}

    # New keys enter the bank before anchors and negatives are drawn.
    plan = None
    if memory.bank is not None:
      memory, plan, found = self._contrast(
        memory, outputs, (labels_l, labels_u), split, keys["draw"]
      )
      metrics |= found
    targets = Targets(labels_l, labels_u, split, plan, own)
    return method.Lesson((method.View(images),), targets), memory, metrics

  def losses(
    self, outputs: tuple[method.Outputs, ...], lesson: method.Lesson
  ) -> method.Metrics:
    """The student's losses, from its outputs on both halves.

    Reference: paper eq. 1 to 3.
    """
    (outputs,), targets = outputs, lesson.targets
    batch_l, size = targets.labels_l.shape[0], targets.labels_l.shape[1:]
    outputs_l, logits_u = {}, None
    for name in ("logits", "aux"):
      if name in outputs:
        outputs_l[name], unlabeled = self.halves.part(outputs[name], batch_l)
        logits_u = unlabeled if name == "logits" else logits_u
    losses = {
      "supervised": self.parts.supervised_loss(outputs_l, targets.labels_l),
      "unsupervised": self.semi.unsupervised_weight
      * pixelwise.unsupervised_loss(
        resize.resize_bilinear(logits_u, size),
        targets.labels_u,
        targets.split.kept,
      ),
    }
    if targets.plan is not None:
      losses["contrastive"] = contrast.compute_loss(
        outputs["rep"], targets.plan, self.contrast
      )
    return losses

  def review(self, lesson: method.Lesson, truth: method.Truth) -> method.Review:
    """Pseudo-labels and negatives, beside what was mixed as they were."""
    targets = lesson.targets
    mixed = mixing.follow(targets.own, truth["label_u"], self.augment.mode)
    return review.compare(
      targets.labels_u,
      targets.split.kept,
      mixed,
      targets.plan,
      num_labeled=len(targets.labels_l),
      halves=self.halves,
    )

  def illustrate(
    self, batch: method.Batch, lesson: method.Lesson
  ) -> tuple[pictures.Group, ...]:
    """From the weak view to negatives."""
    targets, halves = lesson.targets, self.halves
    count = len(targets.labels_l)
    return illustration.illustrate(
      batch,
      halves.part(lesson.views[0].images, count),
      (targets.labels_l, targets.labels_u),
      targets.split,
      targets.own,
      illustration.part_negatives(targets.plan, count, halves),
      self.augment,
    )

  def follow(
    self, memory: memory_lib.Memory, student: method.Variables, step: jax.Array
  ) -> tuple[memory_lib.Memory, method.Metrics]:
    """The teacher moves towards the student that has just been updated."""
    decay = schedule.ema_decay(
      step,
      first_step=self.first_step,
      steps_per_epoch=self.parts.timeline.steps_per_epoch,
      max_decay=self.semi.ema_decay,
      first_epoch=self.semi.teacher_first_epoch,
    )
    return memory_lib.follow(memory, student, decay, semi=self.semi)

  def taught(self, entropy: np.ndarray, step: int) -> np.ndarray:
    """[B, H, W] bool, pixels that would keep their pseudo-label."""
    percent = self._percents(step)["drop_percent"]
    return entropy < np.percentile(entropy, float(percent))

  def _contrast(
    self,
    memory: memory_lib.Memory,
    outputs: method.Outputs,
    labels: tuple[jax.Array, jax.Array],
    split: partition.Partition,
    key: jax.Array,
  ) -> tuple[memory_lib.Memory, contrast.Plan, method.Metrics]:
    """The memory with new keys, and the plan of the contrastive loss.

    Args:
      memory: with a bank.
      outputs: of the teacher's train-mode pass.
      labels: of the labeled and the unlabeled images, each [B, H, W] int32.
      split: of the unlabeled pixels.
      key: PRNG key.
    """
    size = outputs["rep"].shape[1:3]  # Some decoders have one of its own.
    pixels = contrast.label_pixels(
      *labels,
      split,
      size,
      num_classes=self.parts.model.num_classes,
      label_stacks=(self.contrast.label_stack,) * 2,
      halves=self.halves,
    )
    probs = jax.nn.softmax(resize.resize_bilinear(outputs["logits"], size))
    bank, plan, metrics = contrast.prepare(
      key, memory.bank, probs, outputs["rep"], pixels, self.contrast, self.draw
    )
    return memory.replace(bank=bank), plan, metrics

  def _percents(self, step: jax.Array | int) -> dict[str, jax.Array]:
    semi = self.semi
    progress = self.parts.timeline.progress(step, semi.schedule_by)
    return {
      "drop_percent": schedule.drop_percent(progress, semi.drop_percent),
      "unreliable_percent": schedule.unreliable_percent(
        progress, semi.unreliable_percent
      ),
    }

  def _strong_view(
    self, teacher: method.Variables, images: jax.Array, key: jax.Array
  ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Strongly augmented images, their pseudo-labels int32, and more.

    The teacher in eval mode labels the weak view, of which the strong view is
    made with its labels. Shapes [B, H, W, 3], [B, H, W], [B, H, W] bool, where
    an image kept its own pixels, and confidence [B, H, W] of the weak view.
    """
    logits = forward.make_net(self.parts.model, teacher)(images)
    labels, confidence = teacher_lib.pseudo_labels(logits)
    images, labels, own = mixing.strong_augment(
      key,
      images,
      labels,
      num_classes=self.parts.model.num_classes,
      **self.augment.to_section(),
    )
    return images, labels, own, confidence
