"""A lesson from weak to strong views in pictures."""

from collections.abc import Sequence

import jax

from u2pl_jax.methods import method, pictures
from u2pl_jax.methods.consistency import targets


def illustrate(
  batch: method.Batch,
  labels_l: jax.Array,
  images: Sequence[jax.Array],
  masks: Sequence[jax.Array],
  strong: Sequence[targets.Guess],
  threshold: float,
  weak: targets.Guess | None = None,
) -> tuple[pictures.Group, ...]:
  """Labeled images; and unlabeled ones, view by view.

  Args:
    batch: of the step.
    labels_l: [B_l, H, W] int32.
    images: of each strong view, as the student sees it.
    masks: [B_u, H, W] bool of each, true in its box.
    strong: what each is to be labeled as.
    threshold: of the confidence.
    weak: what weak views are to be labeled as when their features are
      perturbed; None where they are not.
  """
  shown = [
    pictures.Picture(
      "Weak view", "What is labeled by the network.", "image", batch["image_u"]
    )
  ]
  if weak is not None:
    shown.append(
      pictures.Picture(
        "Taught, weak",
        "What the student is taught on the weak view with perturbed features;"
        f" white where the confidence is below {threshold:g}.",
        "classes",
        targets.taught_labels(weak, threshold),
      )
    )
  several = len(images) > 1
  for number, (image, mask, target) in enumerate(
    zip(images, masks, strong, strict=True), start=1
  ):
    which = f" {number}" if several else ""
    shown += _of_strong(which, image, mask, target, threshold)
  return (
    pictures.of_labeled(batch["image_l"], labels_l),
    pictures.Group("Unlabeled images", "unlabeled", tuple(shown)),
  )


def _of_strong(
  which: str,
  image: jax.Array,
  mask: jax.Array,
  target: targets.Guess,
  threshold: float,
) -> list[pictures.Picture]:
  """The pictures of one strong view; `which` ends their titles."""
  return [
    pictures.Picture(
      f"Strong view{which}",
      "What the student sees: changed colors, and a framed box of another"
      " image.",
      "image",
      image,
      frame=mask,
    ),
    pictures.Picture(
      f"Pseudo-label{which}",
      "The classes of the weak views, mixed as the images are.",
      "classes",
      target.labels,
    ),
    pictures.Picture(
      f"Taught{which}",
      "The pseudo-labels that the student is taught; white where the"
      f" confidence is below {threshold:g} or the image is padded.",
      "classes",
      targets.taught_labels(target, threshold),
    ),
  ]
