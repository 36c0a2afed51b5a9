"""A lesson of U2PL in pictures."""

import jax

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.methods import method, pictures
from u2pl_jax.methods.u2pl import contrast, partition, settings

_MIXES = {
  "none": "No strong augmentation is chosen (augment.mode=none).",
  "cutout": "The student sees the weak view without the framed part.",
  "cutmix": "The student sees this: a box, framed, is of the next image.",
  "classmix": "The student sees this: what is framed is of the next image.",
}


def illustrate(
  batch: method.Batch,
  images: tuple[jax.Array, jax.Array],
  labels: tuple[jax.Array, jax.Array],
  split: partition.Partition,
  own: jax.Array,
  negatives: tuple[jax.Array, jax.Array] | None,
  augment: settings.AugmentOptions,
) -> tuple[pictures.Group, ...]:
  """Labeled images, and unlabeled ones from the weak view to negatives.

  Args:
    batch: of the step.
    images: labeled and strongly augmented ones, as the student sees them.
    labels: of both, int32 [B, H, W].
    split: of the pixels of the latter.
    own: [B_u, H, W] bool, where an image kept its own pixels.
    negatives: of both, see `contrast.Plan.offered`; None without.
    augment: settings of the strong augmentation.
  """
  of_view = _MIXES[augment.mode]
  if 0 < augment.probability < 1:
    of_view += " Some steps go without."
  labels_l, labels_u = labels
  valid = labels_u != IGNORE_LABEL
  shown = [
    pictures.Picture(
      "Weak view", "What the teacher labels.", "image", batch["image_u"]
    ),
    pictures.Picture(
      "Strong view",
      of_view,
      "image",
      images[1],
      frame=~own,
    ),
    pictures.Picture(
      "Pseudo-label", "The teacher's classes.", "classes", labels_u
    ),
    pictures.Picture(
      "Taught",
      "The pseudo-labels that the student is taught; white where the teacher's"
      " entropy is too high.",
      "classes",
      pictures.keep(labels_u, split.kept),
    ),
    pictures.mark_reliable(split.reliable, split.unreliable, valid),
  ]
  of_labeled = []
  if negatives is not None:
    of_labeled.append(pictures.share_of_classes(negatives[0]))
    shown.append(pictures.share_of_classes(negatives[1]))
  return (
    pictures.of_labeled(images[0], labels_l, *of_labeled),
    pictures.Group("Unlabeled images", "unlabeled", tuple(shown)),
  )


def part_negatives(
  plan: contrast.Plan | None, num_labeled: int, halves: contrast.Halves
) -> tuple[jax.Array, jax.Array] | None:
  """`Plan.offered` of labeled and of unlabeled images; None without a plan."""
  return None if plan is None else halves.part(plan.offered, num_labeled)
