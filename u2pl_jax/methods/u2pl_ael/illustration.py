"""A lesson of U2PL with AEL in pictures."""

import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.methods import method, pictures
from u2pl_jax.methods.u2pl import illustration
from u2pl_jax.methods.u2pl_ael import setup, targets
from u2pl_jax.ops import boxes


def illustrate(
  batch: method.Batch, lesson: method.Lesson, *, given: setup.Setup
) -> tuple[pictures.Group, ...]:
  """Labeled images with what was pasted; pairs, their boxes, and weights."""
  wanted = lesson.targets
  images_l, mixed = (view.images for view in lesson.views)
  negatives = illustration.part_negatives(
    wanted.plan, len(wanted.labels), given.halves
  )
  of_labeled, of_mixed = (
    [] if negatives is None else [pictures.share_of_classes(offered)]
    for offered in negatives or (None, None)
  )
  if given.ael.consistency_weight_l:
    of_labeled.insert(0, _weights(wanted.labeled))
  pasted = None
  if "image_p" in batch:
    before = given.parts.model.normalize(batch["image_l"])
    pasted = jnp.any(images_l != before, axis=-1)
  labeled = pictures.of_labeled(images_l, wanted.labels, *of_labeled)
  first = labeled.pictures[0].replace(
    note="What the student sees, a random crop; framed is what was pasted from"
    " another labeled image.",
    frame=pasted,
  )
  labeled = labeled.replace(pictures=(first, *labeled.pictures[1:]))
  shown = _of_pair(batch, mixed, wanted)
  return labeled, pictures.Group(
    "Unlabeled images", "unlabeled", (*shown, *of_mixed)
  )


def _of_pair(
  batch: method.Batch, mixed: jax.Array, wanted: targets.Targets
) -> list[pictures.Picture]:
  """Two images, the mixed one, and what it is taught as."""
  return [
    pictures.Picture(
      "First image", "What the box is pasted into.", "image", batch["image_u"]
    ),
    pictures.Picture(
      "Second image",
      "Drawn because it showed a class that the student is unsure of.",
      "image",
      batch["image_u2"],
    ),
    pictures.Picture(
      "Mixed image",
      "What the student sees; the frame is the box of the second image.",
      "image",
      mixed,
      frame=boxes.inside(wanted.boxes, mixed.shape[1:3]),
    ),
    pictures.Picture(
      "Taught",
      "The teacher's classes; white where it is too unsure or, with"
      " ael.dropped=sure, too sure.",
      "classes",
      wanted.mixed.labels,
    ),
    _weights(wanted.mixed),
  ]


def _weights(side: targets.Side) -> pictures.Picture:
  return pictures.Picture(
    "Weight",
    "How much a pixel counts: white fully, black not at all, which befalls by"
    " chance those of classes that the student is sure of.",
    "share",
    jnp.where(side.labels != IGNORE_LABEL, side.weights, 0.0),
  )
