"""Which pixels are anchors, and which are negatives, of each class.

P stands for the pixels, on as many axes as the caller likes, labeled and
unlabeled ones together.

Reference for all: paper section 3.3; `u2pl/utils/loss_helper.py`
(compute_contra_memobank_loss).
"""

import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL

NEGATIVES = ("unreliable", "reliable", "all")


def class_ranks(probs: jax.Array) -> jax.Array:
  """O(c): how many classes are more likely at that pixel, 0 for the top one.

  Of equally likely classes the one with the lower number comes first. Counted
  by comparing all pairs, which fuses into one pass; a sort would not.

  Args:
    probs: [P, K].

  Returns:
    [P, K] int32 in [0, K).
  """
  other, own = probs[..., :, None], probs[..., None, :]
  index = jnp.arange(probs.shape[-1])
  earlier = index[:, None] < index[None, :]
  ahead = (other > own) | ((other == own) & earlier)
  return jnp.sum(ahead, axis=-2, dtype=jnp.int32)


def class_membership(
  labels: jax.Array, num_classes: int, stack: int
) -> jax.Array:
  """Which classes each pixel counts as: its label's, and none for 255.

  # Differs from U2PL unless `stack` is the images a GPU had: there
  # `label_onehot` writes the labels of all its images onto the first one's
  # pixels (a scatter along the wrong axis) and none onto the others. A pixel
  # of the first image then counts as each image's class at that place, as
  # class 0 where another image is ignored, and as none where itself is.

  Args:
    labels: [B, h, w] int32 in [0, K) or 255.
    num_classes: K.
    stack: 1, or the size of the groups of images, which divides B.

  Returns:
    [B, h, w, K] bool.

  Raises:
    ValueError: `stack` does not divide B.
  """
  if labels.shape[0] % stack:
    raise ValueError(
      f"contrast.label_stack={stack} does not divide a batch of"
      f" {labels.shape[0]} images"
    )
  is_class = labels[..., None] == jnp.arange(num_classes)
  if stack == 1:
    return is_class
  group = (labels.shape[0] // stack, stack)
  ignored = (labels == IGNORE_LABEL).reshape(*group, *labels.shape[1:])
  stacked = jnp.any(is_class.reshape(*group, *is_class.shape[1:]), axis=1)
  stacked = stacked.at[..., 0].set(stacked[..., 0] | jnp.any(ignored, axis=1))
  stacked &= ~ignored[:, 0, ..., None]
  is_first = jnp.arange(labels.shape[0]) % stack == 0
  stacked = jnp.repeat(stacked, stack, axis=0)
  return stacked & is_first[:, None, None, None]


def anchor_mask(
  probs: jax.Array,
  is_class: jax.Array,
  reliable: jax.Array,
  *,
  min_prob: float,
) -> jax.Array:
  """A_c: reliable pixels of class c that the teacher gives p(c) > min_prob.

  Args:
    probs: [P, K] float32, the teacher's.
    is_class: [P, K] bool, from labels and pseudo-labels.
    reliable: [P] bool.
    min_prob: delta_p, in [0, 1].

  Returns:
    [P, K] bool.

  Reference: paper eq. 10.
  """
  return is_class & reliable[..., None] & (probs > min_prob)


def offering(
  reliable: jax.Array, unreliable: jax.Array, which: str
) -> jax.Array:
  """Unlabeled pixels that may be negative keys.

  Args:
    reliable, unreliable: [P] bool.
    which: of `NEGATIVES`; "all" is any of both.

  Returns:
    [P] bool.

  Reference: paper eq. 15 for "unreliable"; the others are ours, to be compared
  with.
  """
  return {
    "unreliable": unreliable,
    "reliable": reliable,
    "all": reliable | unreliable,
  }[which]


def negative_mask(
  probs: jax.Array,
  is_class: jax.Array,
  is_labeled: jax.Array,
  offered: jax.Array,
  *,
  low_rank: int,
  high_rank: int,
  max_prob: float,
  labeled_negatives: bool,
  own_pseudo_label: bool,
  use_ranks: bool = True,
) -> jax.Array:
  """Pixels that serve as negative keys of each class.

  Labeled pixels of another class that the teacher nevertheless ranks
  0 <= O(c) < r_l; unreliable unlabeled pixels with r_l <= O(c) < r_h, which
  are surely not c, though it is unsure what they are.

  Args:
    probs: [P, K] float32, the teacher's.
    is_class: [P, K] bool, from labels and pseudo-labels; of no class where
      there is none.
    is_labeled: [P] bool, pixel of a labeled image.
    offered: [P] bool, the unreliable pixels, or others to compare with; read
      for unlabeled pixels only, of which it must leave out those without a
      pseudo-label.
    low_rank: r_l.
    high_rank: r_h; may exceed K.
    max_prob: only pixels with p(c) below it are keys; above 1 for no limit.
      The published code has 1, which excludes a rounded probability of 1.
    labeled_negatives: whether labeled pixels give keys. In the published
      code they never do: it asks for label c and for a label other than c.
    own_pseudo_label: whether an unlabeled key of class c must also have the
      pseudo-label c, as the published code asks.
    use_ranks: without, unlabeled pixels are keys of every class, labeled ones
      of every other class than their own; to be compared with.

  Returns:
    [P, K] bool.

  Reference: paper eq. 13 to 16.
  """
  ranks, labeled_below = class_ranks(probs), low_rank
  if not use_ranks:
    low_rank, high_rank = 0, probs.shape[-1]
    labeled_below = high_rank
  from_unlabeled = (
    (~is_labeled & offered)[..., None]
    & (ranks >= low_rank)
    & (ranks < high_rank)
  )
  if own_pseudo_label:
    from_unlabeled &= is_class
  negatives = from_unlabeled
  if labeled_negatives:
    valid_labeled = (is_labeled & jnp.any(is_class, axis=-1))[..., None]
    negatives |= valid_labeled & ~is_class & (ranks < labeled_below)
  return negatives & (probs < max_prob)
