"""Labels with confidence, how they are mixed, and the losses on them."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import method, teacher
from u2pl_jax.methods.consistency import settings
from u2pl_jax.ops import boxes, interleave, resize

PyTree = Any


@flax.struct.dataclass
class Guess:
  """What a network makes of unlabeled images.

  Attributes:
    labels: [B, H, W] int32, of two equally likely classes the lower one.
    confidence: [B, H, W] float32, probability of that class.
    is_image: [B, H, W] bool, false on the padding of a crop.
  """

  labels: jax.Array
  confidence: jax.Array
  is_image: jax.Array


def guess(logits: jax.Array, padding: jax.Array) -> Guess:
  """Labels and confidence at full size.

  Args:
    logits: [B, h, w, K] float32.
    padding: [B, H, W] uint8, 1 on the padding of the crops.
  """
  logits = resize.resize_bilinear(logits, padding.shape[1:])
  return Guess(*teacher.pseudo_labels(logits), is_image=padding == 0)


def group(tree: PyTree, groups: int) -> PyTree:
  """Arrays [B, ...] as groups of consecutive images [G, B / G, ...]."""
  return jax.tree.map(lambda x: x.reshape(groups, -1, *x.shape[1:]), tree)


def reverse(tree: PyTree, groups: int) -> PyTree:
  """Arrays [B, ...] with the images of each group in reverse order."""

  def of(x):
    return group(x, groups)[:, ::-1].reshape(x.shape)

  return jax.tree.map(of, tree)


def mix(mask: jax.Array, own: PyTree, other: PyTree) -> PyTree:
  """`other` where the mask [B, H, W] holds, else `own`, array by array."""
  return jax.tree.map(lambda a, b: boxes.paste(mask, a, b), own, other)


def _mean_over_groups(
  loss: Callable[..., jax.Array], groups: int, *trees: PyTree
) -> jax.Array:
  """The mean of what a loss is of each group of images."""
  if groups == 1:
    return loss(*trees)
  return jnp.mean(jax.vmap(loss)(*(group(tree, groups) for tree in trees)))


def labeled_part(outputs: method.Outputs, count: int) -> method.Outputs:
  """What the supervised loss needs of a pass of labeled and other images.

  Args:
    outputs: of `interleave.join`, labeled images first.
    count: B_l.
  """
  return {
    name: interleave.part(outputs[name], count)[0]
    for name in ("logits", "aux")
    if name in outputs
  }


def supervised_loss(
  parts: method.Parts, outputs: method.Outputs, labels: jax.Array, groups: int
) -> jax.Array:
  """The supervised loss of labeled images, [].

  Args:
    parts: of the run.
    outputs: of the network, [B_l, h, w, K].
    labels: [B_l, H, W] int32, 255 ignored.
    groups: see `ConsistencyOptions`.
  """
  return _mean_over_groups(parts.supervised_loss, groups, outputs, labels)


def is_taught(target: Guess, threshold: float) -> jax.Array:
  """[B, H, W] bool, pixels of images whose label is confident enough."""
  return target.is_image & (target.confidence >= threshold)


def consistency_loss(
  logits: jax.Array, target: Guess, threshold: float, groups: int
) -> jax.Array:
  """Cross entropy of the confident pixels, divided by all that show images.

  L = sum CE [confidence >= threshold] / number of pixels of the images; where
  few are confident it is small, not noisy.

  Args:
    logits: [B, h, w, K] float32, the student's, of strong views.
    target: mixed as they are.
    threshold: in [0, 1].
    groups: see `ConsistencyOptions`.

  Returns:
    [] float32; 0 where nothing is confident.

  Reference: UniMatch, unimatch.py (main).
  """

  def loss(logits, target):
    logits = resize.resize_bilinear(logits, target.labels.shape[1:])
    losses = pixelwise.pixel_cross_entropy(logits, target.labels)
    kept = is_taught(target, threshold)
    return pixelwise.masked_mean(jnp.where(kept, losses, 0.0), target.is_image)

  return _mean_over_groups(loss, groups, logits, target)


def join(arrays: Sequence[jax.Array]) -> jax.Array:
  """One batch of the strong views, one array [B, ...] for each: 1 or 2."""
  return arrays[0] if len(arrays) == 1 else interleave.join(*arrays)


def part(batch: jax.Array, count: int) -> tuple[jax.Array, ...]:
  """The views that `join` put together."""
  return (batch,) if count == 1 else interleave.part(batch, len(batch) // 2)


def strong_losses(
  logits: jax.Array,
  strong: tuple[Guess, ...],
  options: settings.ConsistencyOptions,
  weight: float,
) -> method.Metrics:
  """The weighted loss of each strong view, named "strong1", ...

  Args:
    logits: of all, as `join` puts them together, [B, h, w, K].
    strong: targets of each.
    options: settings.
    weight: of their mean.
  """
  return {
    f"strong{index}": weight
    / len(strong)
    * consistency_loss(each, target, options.threshold, options.groups)
    for index, (each, target) in enumerate(
      zip(part(logits, len(strong)), strong, strict=True), start=1
    )
  }


def compare(
  masks: tuple[jax.Array, ...],
  strong: tuple[Guess, ...],
  truth: method.Truth,
  options: settings.ConsistencyOptions,
) -> method.Review:
  """What strong views were taught as, beside what was mixed as they were.

  Args:
    masks: [B, H, W] bool of each view, true in its box.
    strong: targets of each.
    truth: of the weak views and, where there are some, of second images.
    options: settings.
  """
  own = truth["label_u"]
  other = truth.get("label_u2", reverse(own, options.groups))
  return method.Review(
    tuple(
      (taught_labels(target, options.threshold), mix(mask, own, other))
      for mask, target in zip(masks, strong, strict=True)
    )
  )


def taught_labels(target: Guess, threshold: float) -> jax.Array:
  """[B, H, W] int32, 255 where no label is taught."""
  return jnp.where(is_taught(target, threshold), target.labels, IGNORE_LABEL)


def summarize(found: Guess, threshold: float) -> method.Metrics:
  """Metrics of the weak views, before they are mixed, all in [0, 1].

  Args:
    found: of the weak views.
    threshold: in [0, 1].
  """
  kept = (found.confidence >= threshold).astype(jnp.float32)
  return {
    "consistency/mask_ratio": pixelwise.masked_mean(kept, found.is_image),
    "consistency/confidence": pixelwise.masked_mean(
      found.confidence, found.is_image
    ),
  }
