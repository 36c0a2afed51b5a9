"""The recorded contrastive loss once more, in numpy and float64.

Written from the description that comes with the recordings, for settings that
none of the shared ones has. Draws are the first ones in order, as there.

The paper's keys differ from the published ones in labels and ranks alone: the
limit of their probability, `current_class_negative_threshold`, holds for both.
"""

import collections
import json

import numpy as np


def _flatten(maps):
  """[B, C, h, w] to [B h w, C] float64."""
  return np.moveaxis(maps, 1, -1).reshape(-1, maps.shape[1]).astype(np.float64)


class _Call:
  """The P pixels of a call, in the order of (image, row, column)."""

  def __init__(self, inputs, config):
    self.rep, self.rep_teacher = map(
      _flatten, (inputs["rep"], inputs["rep_teacher"])
    )
    # In float32, as compared there.
    prob = _flatten(inputs["prob"]).astype(np.float32)
    num_classes = prob.shape[1]
    labels = inputs["label_small"]
    image = np.broadcast_to(np.arange(len(labels))[:, None, None], labels.shape)
    low, high = (
      inputs[k].reshape(-1, 1) > 0 for k in ("low_mask", "high_mask")
    )
    is_class = labels.reshape(-1, 1) == np.arange(num_classes)
    is_labeled = image.reshape(-1, 1) < inputs["num_labeled"]

    order = np.argsort(-prob, axis=1, kind="stable")
    rank = np.argsort(order, axis=1)
    is_low_rank = rank < config["low_rank"]
    is_middle_rank = ~is_low_rank & (rank < config["high_rank"])
    is_key = high & (prob < config["current_class_negative_threshold"])
    has_label = (labels.reshape(-1, 1) != 255) & is_labeled
    self.members = is_class & low
    self.anchors = self.members & (prob > config["current_class_threshold"])
    self.keys = is_key & ~is_labeled & is_middle_rank & is_class
    self.paper_labeled = is_key & has_label & ~is_class & is_low_rank
    self.paper_unlabeled = is_key & ~is_labeled & is_middle_rank


def _info_nce(anchors, positive, bank, config):
  """Mean over the anchors drawn: the first ones, as are the negatives."""
  shape = config["num_queries"], config["num_negatives"]
  drawn = anchors[np.arange(shape[0]) % len(anchors)]
  negatives = bank[np.arange(np.prod(shape)) % len(bank)].reshape(*shape, -1)
  positives = np.broadcast_to(positive, (shape[0], 1, len(positive)))
  others = np.concatenate([positives, negatives], axis=1)
  cosine = np.sum(drawn[:, None] * others, axis=-1) / (
    np.linalg.norm(drawn, axis=-1)[:, None] * np.linalg.norm(others, axis=-1)
  )
  logits = cosine / config["temperature"]
  return np.mean(np.log(np.sum(np.exp(logits), axis=1)) - logits[:, 0])


def _loss(call, banks, config):
  """Anchors, prototype and bank of the same class."""
  present = np.flatnonzero(call.members.any(axis=0))
  if len(present) < 2:
    return 0.0
  total = 0.0
  for c in present:
    if call.anchors[:, c].any() and banks[c]:
      total += _info_nce(
        call.rep[call.anchors[:, c]],
        call.rep_teacher[call.members[:, c]].mean(axis=0),
        np.array(banks[c]),
        config,
      )
  return total / len(present)


def compute(calls, config, queue_size):
  """What a recording holds of keys and losses, for calls one after another.

  Args:
    calls: arrays of each call under their recorded names.
    config: of the recording, its `config_json`.
    queue_size: [K], how many keys each class keeps.

  Returns:
    For each call a dict of arrays under their recorded names.
  """
  published, papers = (
    [collections.deque(maxlen=int(size)) for size in queue_size]
    for _ in range(2)
  )
  results = []
  for inputs in calls:
    call = _Call(inputs, config)
    paper_keys = call.paper_labeled | call.paper_unlabeled
    for banks, keys in (published, call.keys), (papers, paper_keys):
      for bank, is_key in zip(banks, keys.T, strict=True):
        bank.extend(call.rep_teacher[is_key])
    results.append(
      {
        "negative_count": call.keys.sum(axis=0),
        "negative_count_labeled": np.zeros(len(queue_size), int),
        "negative_count_paper_labeled": call.paper_labeled.sum(axis=0),
        "negative_count_paper_unlabeled": call.paper_unlabeled.sum(axis=0),
        "loss_corrected": _loss(call, published, config),
        "loss_corrected_paper_negatives": _loss(call, papers, config),
      }
    )
  return results


def draw_call(seed, num_classes, size=9, width=8):
  """Inputs of a call: two labeled and two unlabeled random images."""
  rng = np.random.default_rng(seed)
  shape = 4, size, size
  logits = 1.5 * rng.normal(size=(4, num_classes, size, size))
  exponentials = np.exp(logits)
  labels = rng.integers(0, num_classes, shape).astype(np.int32)
  labels[rng.random(shape) < 0.1] = 255
  chance = rng.random(shape)
  is_labeled = np.arange(4)[:, None, None] < 2
  is_valid = labels != 255
  low = is_valid & (is_labeled | (chance < 0.4))
  high = is_valid & (is_labeled | (chance > 0.6))
  rep, rep_teacher = rng.normal(size=(2, 4, width, size, size))
  return {
    "rep": rep.astype(np.float32),
    "rep_teacher": rep_teacher.astype(np.float32),
    "prob": np.float32(exponentials / exponentials.sum(axis=1, keepdims=True)),
    "label_small": labels,
    "low_mask": low[:, None].astype(np.uint8),
    "high_mask": high[:, None].astype(np.uint8),
    "num_labeled": np.int32(2),
  }


def record(path, config, num_classes=6, num_calls=3):
  """Writes a recording of `num_calls` random calls, and returns its results."""
  queue_size = np.array([60] + [40] * (num_classes - 1))
  calls = [draw_call(seed, num_classes) for seed in range(num_calls)]
  results = compute(calls, config, queue_size)
  arrays = {
    "config_json": json.dumps(config),
    "num_classes": num_classes,
    "queue_size": queue_size,
  }
  for i, call in enumerate(calls, start=1):
    for name, array in (call | results[i - 1]).items():
      arrays[f"call{i}/{name}"] = array
  np.savez(path, **arrays)
  return results
