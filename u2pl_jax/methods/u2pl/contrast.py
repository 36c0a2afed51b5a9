"""The contrastive term of a step: keys into the bank, draws, loss.

The rules themselves stand in `losses/contrastive.py`, `memory_bank.py` and
`sampling.py`; this module applies them to the feature maps of a step.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.losses import contrastive
from u2pl_jax.methods.u2pl import memory_bank, partition, selection
from u2pl_jax.ops import interleave, resize, sampling
from u2pl_jax.runtime import sharding

POSITIVES = ("anchors", "reliable")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastOptions:
  """Settings of the contrastive loss; `configs/common.py` explains each.

  Raises:
    ValueError: a value is out of range.
  """

  num_classes: int
  weight: float
  num_anchors: int
  num_negatives: int
  temperature: float
  min_anchor_prob: float
  low_rank: int
  high_rank: int
  max_negative_prob: float
  labeled_negatives: bool
  own_pseudo_label: bool
  label_stack: int
  positive: str
  divide_by: str
  max_keys_per_class: int

  def __post_init__(self):
    if self.low_rank >= self.num_classes:
      raise ValueError(
        f"contrast.low_rank={self.low_rank} with {self.num_classes} classes:"
        " no pixel could be a negative of any class; low_rank must be below"
        " the number of classes"
      )
    if not 0 <= self.low_rank < self.high_rank:
      raise ValueError(
        f"contrast.low_rank={self.low_rank}, contrast.high_rank="
        f"{self.high_rank}: expected 0 <= low_rank < high_rank"
      )
    at_least_one = (
      "num_anchors", "num_negatives", "max_keys_per_class", "label_stack"
    )  # fmt: skip
    for name in at_least_one:
      if getattr(self, name) < 1:
        raise ValueError(f"contrast.{name}={getattr(self, name)}: must be >= 1")
    if self.temperature <= 0:
      raise ValueError(
        f"contrast.temperature={self.temperature}: must be positive"
      )
    if self.positive not in POSITIVES:
      raise ValueError(
        f"contrast.positive={self.positive!r}: expected one of {POSITIVES}"
      )


@flax.struct.dataclass
class Pixels:
  """The P = h w pixels at feature size of each image of the joined batch.

  Attributes:
    is_class: [B, P, K] bool, from labels and pseudo-labels.
    is_labeled: [B, P] bool.
    reliable: [B, P] bool, may be anchors.
    unreliable: [B, P] bool, may be negatives.
  """

  is_class: jax.Array
  is_labeled: jax.Array
  reliable: jax.Array
  unreliable: jax.Array


def label_pixels(
  labels_l: jax.Array,
  labels_u: jax.Array,
  split: partition.Partition,
  size: tuple[int, int],
  options: ContrastOptions,
) -> Pixels:
  """Brings labels and masks from [B, H, W] to feature size (h, w).

  Every labelled pixel but 255 is reliable. All by nearest neighbour.
  """

  def shrink(x: jax.Array) -> jax.Array:
    return resize.resize_nearest(x, size).reshape(len(x), -1)

  def membership(labels: jax.Array) -> jax.Array:
    return selection.class_membership(
      resize.resize_nearest(labels, size),
      options.num_classes,
      options.label_stack,
    ).reshape(len(labels), -1, options.num_classes)

  small_l = shrink(labels_l)
  reliable_u, unreliable_u = shrink(split.reliable), shrink(split.unreliable)
  return Pixels(
    is_class=interleave.join(membership(labels_l), membership(labels_u)),
    is_labeled=interleave.join(
      jnp.ones(small_l.shape, bool), jnp.zeros(reliable_u.shape, bool)
    ),
    reliable=interleave.join(small_l != IGNORE_LABEL, reliable_u),
    unreliable=interleave.join(jnp.zeros(small_l.shape, bool), unreliable_u),
  )


@flax.struct.dataclass
class Plan:
  """What the loss needs beside the student's representation.

  Attributes:
    anchors: [B, P, K] bool, from which pixels anchors are taken.
    anchor_ranks: [K, A] int32, which of them.
    positives: [K, D] float32.
    negatives: [K, A, N, D] float32.
    contributes: [K] bool, classes with an anchor and a non-empty bank.
    present: [K] bool, classes with a reliable pixel.
    metrics: of this term.
  """

  anchors: jax.Array
  anchor_ranks: jax.Array
  positives: jax.Array
  negatives: jax.Array
  contributes: jax.Array
  present: jax.Array
  metrics: dict[str, jax.Array]


def _flatten(feature_map: jax.Array) -> jax.Array:
  """[B, h, w, C] to [B, P, C]."""
  return feature_map.reshape(len(feature_map), -1, feature_map.shape[-1])


def prepare(
  key: jax.Array,
  bank: memory_bank.MemoryBank,
  teacher_outputs: dict[str, jax.Array],
  pixels: Pixels,
  options: ContrastOptions,
) -> tuple[memory_bank.MemoryBank, Plan]:
  """Pushes the new keys, then draws anchors and negatives.

  Args:
    key: PRNG key.
    bank: so far.
    teacher_outputs: `logits` [B, h, w, K] and `rep` [B, h, w, D] of the
      train-mode forward pass on labelled and unlabelled images.
    pixels: of the same images, P = h w.
    options: of the loss.

  Returns:
    The bank with the new keys, and the plan.
  """
  key_keys, key_anchors, key_negatives = jax.random.split(key, 3)
  num_classes = options.num_classes
  probs = jax.nn.softmax(_flatten(teacher_outputs["logits"]), axis=-1)
  rep = _flatten(teacher_outputs["rep"])

  negatives = selection.negative_mask(
    probs,
    pixels.is_class,
    pixels.is_labeled,
    pixels.unreliable,
    low_rank=options.low_rank,
    high_rank=min(options.high_rank, num_classes),
    max_prob=options.max_negative_prob,
    labeled_negatives=options.labeled_negatives,
    own_pseudo_label=options.own_pseudo_label,
  )
  candidates = jnp.sum(negatives, axis=(0, 1), dtype=jnp.int32)
  ranks, valid = sampling.spread_ranks(
    key_keys, candidates, options.max_keys_per_class
  )
  new_keys = sampling.select_rows(rep, negatives, ranks)
  bank = memory_bank.push(bank, new_keys, valid)

  anchors = selection.anchor_mask(
    probs,
    pixels.is_class,
    pixels.reliable,
    min_prob=options.min_anchor_prob,
  )
  members = pixels.is_class & pixels.reliable[..., None]
  positive_pixels = anchors if options.positive == "anchors" else members
  num_anchors = jnp.sum(anchors, axis=(0, 1), dtype=jnp.int32)
  shape = (options.num_anchors, options.num_negatives)
  contributes = (num_anchors > 0) & (bank.count > 0)
  return bank, Plan(
    anchors=anchors,
    anchor_ranks=sampling.draw_ranks(key_anchors, num_anchors, shape[:1]),
    positives=contrastive.class_means(rep, positive_pixels),
    negatives=memory_bank.sample(bank, key_negatives, shape),
    contributes=contributes,
    present=jnp.any(members, axis=(0, 1)),
    metrics={
      "contrast/anchors": num_anchors,
      "contrast/new_keys": jnp.sum(candidates),
      "contrast/classes": jnp.sum(contributes),
    },
  )


def compute_loss(
  rep: jax.Array, plan: Plan, options: ContrastOptions
) -> jax.Array:
  """The weighted contrastive loss.

  Args:
    rep: [B, h, w, D] float32, the student's; carries the gradient.
    plan: from `prepare`.
    options: of the loss.

  Returns:
    [] float32.

  Reference: paper eq. 8, 18.
  """
  # The bank's keys may be split along D; the representation must not follow.
  rep = sharding.keep_split(_flatten(rep))
  anchors = sampling.select_rows(rep, plan.anchors, plan.anchor_ranks)
  per_class = contrastive.info_nce(
    anchors, plan.positives, plan.negatives, temperature=options.temperature
  )
  loss = contrastive.mean_over_classes(
    per_class, plan.contributes, plan.present, divide_by=options.divide_by
  )
  return options.weight * loss
