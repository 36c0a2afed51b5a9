"""The teacher's part of a step: what is pasted and mixed, and its labels.

Read `teach` beside algorithm section 5.3. Everything is without gradient.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import contrast
from u2pl_jax.methods.u2pl import memory as u2pl_memory
from u2pl_jax.methods.u2pl import partition as u2pl_partition
from u2pl_jax.methods.u2pl_ael import images, partition, setup, targets
from u2pl_jax.methods.u2pl_ael import memory as memory_lib
from u2pl_jax.models import forward
from u2pl_jax.ops import percentile, resize


def teach(
  memory: memory_lib.Memory,
  student: method.Variables,
  batch: method.Batch,
  keys: Mapping[str, jax.Array],
  step: jax.Array,
  *,
  given: setup.Setup,
) -> tuple[method.Lesson, memory_lib.Memory, method.Metrics]:
  """The views of the student, and what it is measured by.

  Reference: algorithm section 5.3; `train_semi.py` (train) of the branch.
  """
  del student
  key_paste, key_box, key_uniform = jax.random.split(keys["augment"], 3)
  key_l, key_pair, key_u = jax.random.split(keys["teacher"], 3)

  # The teacher in train mode on what labeled images became: its statistics
  # move, and those of the labels below are these.
  images_l, labels_l, metrics = images.paste(
    memory,
    batch,
    key_paste,
    parts=given.parts,
    ael=given.ael,
    draws=given.chance,
  )
  outputs_l, memory = _train_pass(memory, images_l, key_l, given)
  logits_l = resize.resize_bilinear(outputs_l["logits"], labels_l.shape[1:])
  mixed, memory = _mix(memory, batch, key_pair, key_box, given)
  split, found = _split(mixed.logits, step, given)
  metrics |= mixed.summarize() | found
  labeled, unlabeled = _make_sides(
    (logits_l, mixed.logits), split, key_uniform, given
  )

  # For its representation, and because its statistics move.
  outputs_u, memory = _train_pass(memory, mixed.images, key_u, given)
  plan = None
  if memory.bank is not None:
    memory, plan, found = _contrast(
      memory,
      (logits_l, mixed.logits),
      given.halves.join(outputs_l["rep"], outputs_u["rep"]),
      (labels_l, unlabeled.labels),
      split,
      keys["draw"],
      given,
    )
    metrics |= found
  views = method.View(images_l), method.View(mixed.images)
  wanted = targets.Targets(labels_l, labeled, unlabeled, plan, mixed.boxes)
  return method.Lesson(views, wanted), memory, metrics


def _train_pass(
  memory: memory_lib.Memory,
  images: jax.Array,
  key: jax.Array,
  given: setup.Setup,
) -> tuple[method.Outputs, memory_lib.Memory]:
  return u2pl_memory.train_pass(
    memory, images, key, parts=given.parts, semi=given.semi
  )


def _mix(
  memory: memory_lib.Memory,
  batch: method.Batch,
  key_pass: jax.Array,
  key_box: jax.Array,
  given: setup.Setup,
) -> tuple[images.Mixed, memory_lib.Memory]:
  """Mixed images, and the memory that knows what their parts showed."""
  first, second = (
    given.parts.model.normalize(batch[name]) for name in ("image_u", "image_u2")
  )
  joined, size = given.halves.join(first, second), first.shape[1:3]
  if given.ael.pair_mode == "train":
    outputs, memory = _train_pass(memory, joined, key_pass, given)
    logits = resize.resize_bilinear(outputs["logits"], size)
  else:
    logits = forward.make_net(given.parts.model, memory.teacher)(joined)
  mixed = images.mix(
    (first, second),
    given.halves.part(logits, len(first)),
    batch,
    memory.present,
    key_box,
    ael=given.ael,
    draws=given.chance,
  )
  return mixed, memory.replace(present=mixed.present, boxes=mixed.boxes)


def _split(
  logits: jax.Array, step: jax.Array, given: setup.Setup
) -> tuple[u2pl_partition.Partition, method.Metrics]:
  """How the pixels of mixed images may teach."""
  percent = given.percent(step)
  entropy = percentile.compute_entropy(logits)
  split = partition.split(
    entropy,
    percent,
    given.semi.unreliable_percent,
    dropped=given.ael.dropped,
    thresholds=given.ael.thresholds,
    scope=given.ael.percentiles_by,
  )
  metrics = u2pl_partition.summarize(split, jnp.ones(entropy.shape, bool))
  return split, metrics | {"semi/unreliable_percent": percent}


def _make_sides(
  logits: tuple[jax.Array, jax.Array],
  split: u2pl_partition.Partition,
  key: jax.Array,
  given: setup.Setup,
) -> tuple[targets.Side, targets.Side]:
  """What labeled and mixed images are measured by, beside true labels."""
  threshold = given.ael.confidence_threshold
  on_mixed = threshold if given.ael.threshold_on == "both" else 0.0
  uniform = given.chance.uniform(key, *(each.shape[:-1] for each in logits))
  everywhere = jnp.ones(uniform[0].shape, bool)
  return (
    targets.make_side(logits[0], uniform[0], everywhere, threshold),
    targets.make_side(logits[1], uniform[1], split.kept, on_mixed),
  )


def _contrast(
  memory: memory_lib.Memory,
  logits: tuple[jax.Array, jax.Array],
  rep: jax.Array,
  labels: tuple[jax.Array, jax.Array],
  split: u2pl_partition.Partition,
  key: jax.Array,
  given: setup.Setup,
) -> tuple[memory_lib.Memory, contrast.Plan, method.Metrics]:
  """The memory with new keys, and the plan of the contrastive loss.

  Args:
    memory: with a bank.
    logits: the teacher's, at full size, of labeled and of mixed images.
    rep: the teacher's in train mode, of both together.
    labels: of labeled and of mixed images, [B, H, W] int32.
    split: of the mixed pixels.
    key: PRNG key.
    given: settings.
  """
  size, is_taught = rep.shape[1:3], labels[1] != IGNORE_LABEL
  pixels = contrast.label_pixels(
    *labels,
    split.replace(reliable=split.reliable & is_taught),
    size,
    num_classes=given.parts.model.num_classes,
    # Mixed images were never stacked: a GPU had but one.
    label_stacks=(given.contrast.label_stack, 1),
    halves=given.halves,
  )
  small = (resize.resize_bilinear(each, size) for each in logits)
  probs = jax.nn.softmax(given.halves.join(*small), axis=-1)
  bank, plan, metrics = contrast.prepare(
    key,
    memory.bank,
    probs,
    rep,
    pixels,
    given.contrast,
    given.chance.ranks,
  )
  return memory.replace(bank=bank), plan, metrics
