"""The contrastive term of a step: keys into the bank, draws, loss.

The rules themselves stand in `selection`, `memory_bank` and
`losses.contrastive`; this module applies them to the feature maps of a step.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Protocol

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.losses import contrastive
from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import memory_bank, partition, selection
from u2pl_jax.ops import interleave, resize, sampling
from u2pl_jax.runtime import options, sharding


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastOptions(options.Options):
  """Settings of the contrastive loss; those of the paper."""

  SECTION: ClassVar[str] = "contrast"

  # lambda_c; 0 leaves the contrastive loss out.
  weight: float = options.setting(0.1, minimum=0)
  # M, for each class.
  num_anchors: int = options.setting(50, minimum=1)
  # N, for each anchor.
  num_negatives: int = options.setting(256, minimum=1)
  # Which pixels form z+: "anchors" or all "reliable" ones of the class.
  positive: str = options.setting("anchors", choices=("anchors", "reliable"))
  # Whether labeled pixels of another class give keys.
  labeled_negatives: bool = True
  # Whether unlabeled keys of class c must have the pseudo-label c.
  own_pseudo_label: bool = False
  # 1: each pixel counts as its label's class. In the published code those of
  # each GPU's images are stacked onto its first image, by a slip in
  # `label_onehot`; there this is the number of labeled images a GPU had.
  label_stack: int = options.setting(1, minimum=1)
  # Which unlabeled pixels are keys. The other two are there to be compared
  # with: "reliable" ones, or "all", any of both.
  negatives: str = options.setting("unreliable", choices=selection.NEGATIVES)
  # Whether ranks decide of which classes a pixel is a key. Else, to be compared
  # with, unlabeled ones are keys of all classes, labeled ones of all others.
  use_ranks: bool = True
  # Only pixels with p(c) below it are keys; above 1 for no limit.
  max_negative_prob: float = 2.0
  # The sum over classes is divided by the "contributing" or all "present".
  divide_by: str = options.setting("contributing", choices=contrastive.DIVISORS)
  temperature: float = options.setting(0.5, above=0)  # tau
  min_anchor_prob: float = 0.3  # delta_p
  low_rank: int = 3  # r_l, below the number of classes.
  high_rank: int = 20  # r_h, clipped to the number of classes.
  # Keys of each class.
  bank_capacity: int = options.setting(30_000, minimum=1)
  # Keys of class 0, the background.
  bank_capacity_class0: int = options.setting(50_000, minimum=1)
  # "bfloat16" halves the memory of the bank.
  bank_dtype: str = options.setting("float32", choices=("float32", "bfloat16"))
  # Keys of a class that enter the bank in one step.
  max_keys_per_class: int = options.setting(1024, minimum=1)

  def check(self):
    if not 0 <= self.low_rank < self.high_rank:
      raise ValueError(
        f"contrast.low_rank={self.low_rank}, contrast.high_rank="
        f"{self.high_rank}: expected 0 <= low_rank < high_rank"
      )
    if self.own_pseudo_label and not self.use_ranks:
      raise ValueError(
        "contrast.use_ranks=False, contrast.own_pseudo_label=True: keys of a"
        " class would be the pixels taken for it; change one, or the recipe"
      )

  def check_run(
    self,
    parts: method.Parts,
    stacked: Sequence[str] = ("batch_size_l", "batch_size_u"),
  ) -> None:
    """Raises ValueError if the loss does not fit the other parts of a run.

    Args:
      parts: of the run.
      stacked: the batches that `label_stack` groups.
    """
    num_classes = parts.model.num_classes
    if not parts.model.rep_channels:
      raise ValueError(
        "decoder.rep_channels=0 leaves no representation to contrast; set it,"
        " or contrast.weight=0"
      )
    if self.use_ranks and self.low_rank >= num_classes:
      raise ValueError(
        f"contrast.low_rank={self.low_rank} with {num_classes} classes:"
        " no pixel could be a negative of any class; low_rank must be below"
        " the number of classes"
      )
    for name in stacked:
      part = getattr(parts, name) // parts.accumulate_steps
      if part % self.label_stack:
        raise ValueError(
          f"contrast.label_stack={self.label_stack} does not divide"
          f" data.{name}/optim.accumulate_steps={part}"
        )

  def create_bank(
    self, num_classes: int, width: int, *, pushes: int
  ) -> memory_bank.MemoryBank:
    """An empty bank; `pushes` of a step can be taken back."""
    others = (self.bank_capacity,) * (num_classes - 1)
    return memory_bank.create_memory_bank(
      (self.bank_capacity_class0, *others),
      width,
      jnp.dtype(self.bank_dtype),
      spare=self.max_keys_per_class * pushes,
    )


class Halves(Protocol):
  """How labeled and unlabeled images form one batch; see `ops.interleave`."""

  def join(self, labeled: jax.Array, unlabeled: jax.Array) -> jax.Array: ...

  def part(
    self, batch: jax.Array, num_labeled: int
  ) -> tuple[jax.Array, jax.Array]: ...


@flax.struct.dataclass
class Pixels:
  """The P = h w pixels at feature size of each image of the joined batch.

  Attributes:
    is_class: [B, P, K] bool, from labels and pseudo-labels.
    is_labeled: [B, P] bool.
    reliable: [B, P] bool, may be anchors.
    unreliable: [B, P] bool, may be negatives, unless others are asked for.
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
  *,
  num_classes: int,
  label_stacks: tuple[int, int],
  halves: Halves = interleave,
) -> Pixels:
  """Brings labels and masks from [B, H, W] to feature size (h, w).

  Every labeled pixel but 255 is reliable. All by nearest neighbor.

  Args:
    labels_l: [B_l, H, W] int32.
    labels_u: [B_u, H, W] int32, pseudo-labels.
    split: of the unlabeled pixels.
    size: (h, w).
    num_classes: K.
    label_stacks: of labeled and unlabeled images, see
      `selection.class_membership`.
    halves: joins labeled and unlabeled images as those of the network were.
  """

  def shrink(x: jax.Array) -> jax.Array:
    return resize.resize_nearest(x, size).reshape(len(x), -1)

  def membership(labels: jax.Array, stack: int) -> jax.Array:
    return selection.class_membership(
      resize.resize_nearest(labels, size), num_classes, stack
    ).reshape(len(labels), -1, num_classes)

  small_l = shrink(labels_l)
  reliable_u, unreliable_u = shrink(split.reliable), shrink(split.unreliable)
  return Pixels(
    is_class=halves.join(*map(membership, (labels_l, labels_u), label_stacks)),
    is_labeled=halves.join(
      jnp.ones(small_l.shape, bool), jnp.zeros(reliable_u.shape, bool)
    ),
    reliable=halves.join(small_l != IGNORE_LABEL, reliable_u),
    unreliable=halves.join(jnp.zeros(small_l.shape, bool), unreliable_u),
  )


@flax.struct.dataclass
class Plan:
  """What the loss needs beside the student's representation.

  Attributes:
    anchors: [B, P, K] bool, from which pixels anchors are taken.
    anchor_ranks: [K, A] int32, which of them.
    positives: [K, D] float32.
    keys: [R, D], those of the bank.
    negatives: [K, A, N] int32, their rows among the keys.
    contributes: [K] bool, classes with an anchor and a non-empty bank.
    members: [K] int32, reliable pixels of each class.
    offered: [B, h, w, K] bool, which pixels new keys of each class come from.
  """

  anchors: jax.Array
  anchor_ranks: jax.Array
  positives: jax.Array
  keys: jax.Array
  negatives: jax.Array
  contributes: jax.Array
  members: jax.Array
  offered: jax.Array

  @property
  def present(self) -> jax.Array:
    """[K] bool, classes with a reliable pixel."""
    return self.members > 0


def _flatten(feature_map: jax.Array) -> jax.Array:
  """[B, h, w, C] to [B, P, C]."""
  return feature_map.reshape(len(feature_map), -1, feature_map.shape[-1])


def prepare(
  key: jax.Array,
  bank: memory_bank.MemoryBank,
  probs: jax.Array,
  rep: jax.Array,
  pixels: Pixels,
  options: ContrastOptions,
  draw: sampling.Draw = sampling.draw_ranks,
) -> tuple[memory_bank.MemoryBank, Plan, dict[str, jax.Array]]:
  """Pushes the new keys, then draws anchors and negatives.

  Args:
    key: PRNG key.
    bank: so far.
    probs: [B, h, w, K] float32, the teacher's on labeled and unlabeled
      images, in train mode.
    rep: [B, h, w, D] float32, of the same pass.
    pixels: of the same images, P = h w.
    options: of the loss.
    draw: of anchors and negatives.

  Returns:
    The bank with the new keys, the plan, and metrics.
  """
  key_keys, key_anchors, key_negatives = jax.random.split(key, 3)
  size, probs, rep = probs.shape, _flatten(probs), _flatten(rep)
  bank, offered, candidates = _push_keys(
    key_keys, bank, probs, rep, pixels, options
  )
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
  plan = Plan(
    anchors=anchors,
    anchor_ranks=draw(key_anchors, num_anchors, shape[:1]),
    positives=contrastive.class_means(rep, positive_pixels),
    keys=bank.keys,
    negatives=memory_bank.draw_rows(bank, key_negatives, shape, draw),
    contributes=contributes,
    members=jnp.sum(members, axis=(0, 1), dtype=jnp.int32),
    offered=offered.reshape(size),
  )
  metrics = {
    "contrast/anchors": num_anchors,
    "contrast/new_keys": jnp.sum(candidates),
    "contrast/classes": jnp.sum(contributes),
  }
  return bank, plan, metrics


def _push_keys(
  key: jax.Array,
  bank: memory_bank.MemoryBank,
  probs: jax.Array,
  rep: jax.Array,
  pixels: Pixels,
  options: ContrastOptions,
) -> tuple[memory_bank.MemoryBank, jax.Array, jax.Array]:
  """The bank with the new keys, and their candidates.

  The latter as pixels, [B, P, K] bool, and their number, [K] int32.
  """
  negatives = selection.negative_mask(
    probs,
    pixels.is_class,
    pixels.is_labeled,
    selection.offering(pixels.reliable, pixels.unreliable, options.negatives),
    use_ranks=options.use_ranks,
    low_rank=options.low_rank,
    high_rank=min(options.high_rank, probs.shape[-1]),
    max_prob=options.max_negative_prob,
    labeled_negatives=options.labeled_negatives,
    own_pseudo_label=options.own_pseudo_label,
  )
  candidates = jnp.sum(negatives, axis=(0, 1), dtype=jnp.int32)
  ranks, valid = sampling.spread_ranks(
    key, candidates, options.max_keys_per_class
  )
  keys = sampling.select_rows(rep, negatives, ranks)
  return memory_bank.push(bank, keys, valid), negatives, candidates


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
    anchors,
    plan.positives,
    plan.keys,
    plan.negatives,
    temperature=options.temperature,
  )
  loss = contrastive.mean_over_classes(
    per_class, plan.contributes, plan.present, divide_by=options.divide_by
  )
  return options.weight * loss
