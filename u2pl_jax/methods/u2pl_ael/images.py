"""What the student sees: copy-paste among labeled images, mixed pairs.

Reference: algorithm section 5.3, steps 1 and 4 to 6; AEL section 3.2.
"""

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl_ael import (
  chance,
  confidence,
  copy_paste,
  memory,
  presence,
  settings,
)
from u2pl_jax.ops import boxes


def paste(
  remembered: memory.Memory,
  batch: method.Batch,
  key: jax.Array,
  *,
  parts: method.Parts,
  ael: settings.AelOptions,
  draws: chance.Chance,
) -> tuple[jax.Array, jax.Array, method.Metrics]:
  """Labeled images, normalized, and labels int32, after copy-paste.

  Args:
    remembered: before the step.
    batch: of the step.
    key: PRNG key.
    parts: of the run.
    ael: settings.
    draws: what is random.
  """
  images, labels = batch["image_l"], batch["label_l"].astype(jnp.int32)
  metrics = {}
  if "image_p" in batch:
    probability = confidence.class_probability(
      remembered.confidence,
      power=ael.copy_paste_power,
      is_allowed=copy_paste.find_allowed(ael.excluded, parts.class_names),
    )
    chosen = draws.pasted_classes(
      key, probability, len(images), ael.copy_paste_draws
    )
    partner_labels = batch["label_p"].astype(jnp.int32)
    images, labels, pasted = copy_paste.paste(
      images, labels, batch["image_p"], partner_labels, chosen
    )
    metrics["ael/pasted"] = jnp.mean(pasted)
  return parts.model.normalize(images), labels, metrics


@flax.struct.dataclass
class Mixed:
  """Mixed images.

  Attributes:
    images: [B_u, H, W, 3] float32, normalized.
    logits: [B_u, H, W, K] float32, the teacher's, mixed like the images.
    boxes: [B_u, 4] int32, what the second image fills.
    present: [K, N_u] bool, which image shows which class, as known now.
  """

  images: jax.Array
  logits: jax.Array
  boxes: jax.Array
  present: jax.Array

  def summarize(self) -> method.Metrics:
    """Metrics: share of the images known to show each class, and of boxes."""
    inside = boxes.inside(self.boxes, self.images.shape[1:3])
    return {
      "classes/present": jnp.mean(self.present, axis=1),
      "ael/box": jnp.mean(inside),
    }


def mix(
  images: tuple[jax.Array, jax.Array],
  logits: tuple[jax.Array, jax.Array],
  batch: method.Batch,
  present: jax.Array,
  key: jax.Array,
  *,
  ael: settings.AelOptions,
  draws: chance.Chance,
) -> Mixed:
  """Pastes a box of each second image into the first one.

  Args:
    images: first and second ones, [B_u, H, W, 3] float32, normalized.
    logits: the teacher's, [B_u, H, W, K] float32.
    batch: of the step, with `position_u`, `position_u2` and `class_u2`.
    present: [K, N_u] bool, before the step.
    key: PRNG key.
    ael: settings.
    draws: what is random.
  """
  labels = [jnp.argmax(each, axis=-1) for each in logits]
  num_classes = logits[0].shape[-1]
  shown = [
    presence.shown_classes(each, num_classes, ael.present_area)
    for each in labels
  ]
  # In batch order, image 1 before image 2.
  positions = jnp.stack([batch["position_u"], batch["position_u2"]], axis=1)
  drawn = draws.boxes(key, labels[1], batch["class_u2"], ael.component_area)
  inside = boxes.inside(drawn, labels[1].shape[1:])
  return Mixed(
    images=boxes.paste(inside, *images),
    logits=boxes.paste(inside, *logits),
    boxes=drawn,
    present=presence.write(
      present,
      positions.reshape(-1),
      jnp.stack(shown, axis=1).reshape(-1, num_classes),
    ),
  )
