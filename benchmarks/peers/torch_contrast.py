"""The contrastive loss with its banks in PyTorch.

As in the published code (U2PL, u2pl/utils/loss_helper.py,
compute_contra_memobank_loss, and u2pl/utils/utils.py, dequeue_and_enqueue): a
loop over the classes, boolean indexing, a bank of each class that new keys are
concatenated to. The rules of the paper are those of the config. To the peer's
favor the banks lie on the device, and only the rows that are drawn are copied,
where the published code copies a class's whole bank from the host each time.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import arrays
from benchmarks.peers import torch_common, torch_losses

# (rows to draw from, how many draws, device) -> indices.
Draw = Callable[[int, int, torch.device], torch.Tensor]


def draw_uniform(limit: int, count: int, device: torch.device) -> torch.Tensor:
  """With replacement."""
  return torch.randint(limit, (count,), device=device)


class Banks:
  """First-in-first-out keys of each class.

  Attributes:
    keys: of each class, [rows, D], the oldest first.
  """

  def __init__(self, capacity: list[int], width: int, device: torch.device):
    self._capacity = capacity
    self.keys = [torch.zeros(0, width, device=device) for _ in capacity]

  def push(self, class_id: int, keys: torch.Tensor) -> None:
    """Appends keys; the oldest make room."""
    held = torch.cat((self.keys[class_id], keys.detach()))
    capacity = self._capacity[class_id]
    self.keys[class_id] = held[-capacity:] if len(held) > capacity else held

  def fill(self, rows: torch.Tensor) -> None:
    """Makes all banks full of the same rows, again and again."""
    for class_id, capacity in enumerate(self._capacity):
      index = torch.arange(capacity, device=rows.device) % len(rows)
      self.keys[class_id] = rows[index]


def create_banks(
  options: Mapping[str, Any],
  num_classes: int,
  width: int,
  device: torch.device,
  fill: str,
  seed: int,
) -> Banks:
  """Banks, "full" or "empty", of the config's section `contrast`."""
  others = [options["bank_capacity"]] * (num_classes - 1)
  banks = Banks([options["bank_capacity_class0"], *others], width, device)
  if fill == "full":
    rows = arrays.make_keys(np.random.default_rng(seed), width)
    banks.fill(torch.from_numpy(rows).to(device))
  return banks


def contrastive_loss(
  rep: torch.Tensor,
  rep_teacher: torch.Tensor,
  probs: torch.Tensor,
  is_class: torch.Tensor,
  reliable: torch.Tensor,
  unreliable: torch.Tensor,
  num_labeled: int,
  banks: Banks,
  options: Mapping[str, Any],
  draw: Draw = draw_uniform,
) -> torch.Tensor:
  """Pushes new keys, draws, and returns the loss without its weight.

  Args:
    rep, rep_teacher: [B, D, h, w], the student's and the teacher's.
    probs: [B, K, h, w], the teacher's.
    is_class: [B, K, h, w], 1 where a pixel counts as a class, else 0.
    reliable, unreliable: [B, 1, h, w], likewise; of the labeled images both
      hold where there is a label.
    num_labeled: images at the front that are labeled.
    banks: changed in place.
    options: the config's section `contrast`.
    draw: of anchors and negatives.
  """
  options = types.SimpleNamespace(**options)
  found = _find_pixels(
    rep_teacher, probs, is_class, (reliable, unreliable), num_labeled, options
  )
  rep = rep.permute(0, 2, 3, 1)
  anchors, positives, present = [], [], 0
  for class_id, (members, anchor, keys) in enumerate(found):
    banks.push(class_id, keys)
    is_present = bool(members.any())
    present += is_present
    anchors.append(rep[anchor] if is_present else rep.new_zeros(0))
    chosen = anchor if options.positive == "anchors" else members
    positives.append(rep_teacher.permute(0, 2, 3, 1)[chosen].mean(dim=0))
  losses = [
    _info_nce(anchors[c], positives[c], banks.keys[c], options, draw)
    for c in range(len(anchors))
    if len(anchors[c]) and len(banks.keys[c])
  ]
  if present <= 1 or not losses:
    return 0.0 * rep.sum()
  divisor = present if options.divide_by == "present" else len(losses)
  return sum(losses) / divisor


def _find_pixels(rep_teacher, probs, is_class, masks, num_labeled, options):
  """Yields of each class members and anchors, bool [B, h, w], and new keys."""
  reliable, unreliable = (mask[:, 0].bool() for mask in masks)
  rep_teacher = rep_teacher.permute(0, 2, 3, 1)
  order = torch.sort(probs, 1, True).indices.permute(0, 2, 3, 1)
  order_l, order_u = order[:num_labeled], order[num_labeled:]
  low, high = options.low_rank, options.high_rank
  for class_id in range(probs.shape[1]):
    own, p = is_class[:, class_id].bool(), probs[:, class_id]
    members = own & reliable
    ranked = torch.cat(
      (
        order_l[..., :low].eq(class_id).any(dim=3) & ~own[:num_labeled],
        order_u[..., low:high].eq(class_id).any(dim=3),
      )
    )
    keys = ranked & unreliable & (p < options.max_negative_prob)
    if not options.labeled_negatives:
      keys[:num_labeled] = False
    if options.own_pseudo_label:
      keys[num_labeled:] &= own[num_labeled:]
    anchor = members & (p > options.min_anchor_prob)
    yield members, anchor, rep_teacher[keys]


def _info_nce(anchors, positive, keys, options, draw):
  """Of the anchors of one class, mean."""
  num_anchors, num_negatives = options.num_anchors, options.num_negatives
  chosen = anchors[draw(len(anchors), num_anchors, anchors.device)]
  with torch.no_grad():
    index = draw(len(keys), num_anchors * num_negatives, keys.device)
    negatives = keys[index].reshape(num_anchors, num_negatives, -1)
    positives = positive.expand(num_anchors, 1, -1)
    others = torch.cat((positives, negatives), dim=1)
  similarity = F.cosine_similarity(chosen[:, None], others, dim=2)
  target = torch.zeros(num_anchors, dtype=torch.long, device=keys.device)
  return F.cross_entropy(similarity / options.temperature, target)


def make(settings: dict[str, Any]) -> "_Contrast":
  """See `u2pl_jax.tools.benchmark_worker`.

  Args:
    settings: those of `benchmarks.ours.contrast`, format and precision.
  """
  return _Contrast(settings)


class _Contrast:
  def __init__(self, settings):
    self._setting = torch_common.Setting(settings)
    config, num_classes = settings["config"], settings["num_classes"]
    self._options = config["contrast"]
    self._num_labeled = config["data"]["batch_size_l"]
    given = arrays.make_contrast(settings)
    self.images = len(given["labels"])
    place = self._setting.place
    self._rep = place(given["rep"]).requires_grad_()
    self._teacher = place(given["rep_teacher"]), place(given["probs"])
    labels = place(given["labels"].astype(np.int64))
    stack = self._options["label_stack"]
    parts = labels.split([self._num_labeled, len(labels) - self._num_labeled])
    self._is_class = torch.cat(
      [torch_losses.one_hot(part, num_classes, stack) for part in parts]
    )
    unreliable = given["unreliable"]
    has_label = given["labels"] != arrays.IGNORE_LABEL
    unreliable[: self._num_labeled] = has_label[: self._num_labeled]
    self._masks = [
      place(mask[..., None]) for mask in (given["reliable"], unreliable)
    ]
    self._banks = create_banks(
      self._options,
      num_classes,
      self._rep.shape[1],
      self._setting.device,
      settings["banks"],
      settings["seed"],
    )

  def run(self, calls: int) -> None:
    for _ in range(calls):
      self._rep.grad = None
      loss = contrastive_loss(
        self._rep,
        *self._teacher,
        self._is_class,
        *self._masks,
        self._num_labeled,
        self._banks,
        self._options,
      )
      loss.backward()
    self._setting.wait()

  def describe(self) -> dict[str, Any]:
    return self._setting.describe({"rep": self._rep.shape})
