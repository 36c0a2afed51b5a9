"""The peer's contrastive loss equals the recorded one of the published code."""

import json
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.peers import torch_contrast  # noqa: E402
from tests import tiny  # noqa: E402
from tests.benchmarks import torch_golden  # noqa: E402
from tests.parity import contrast_replay, golden  # noqa: E402


def _options(config, keys):
  """The section `contrast` of the reference recipe with what was recorded."""
  _, options, _ = tiny.make_options("reference")
  threshold = config["current_class_negative_threshold"]
  return (
    options.to_section()
    | contrast_replay.recorded_settings(config)
    | contrast_replay.KEY_RULES[keys]
    | {"max_negative_prob": threshold}
  )


def _calls(arrays):
  numbers = {int(m[1]) for n in arrays if (m := re.match(r"call(\d+)/", n))}
  for number in sorted(numbers):
    prefix = f"call{number}/"
    yield {
      name.removeprefix(prefix): array
      for name, array in arrays.items()
      if name.startswith(prefix)
    }


def _replay(path, keys):
  """Yields of each call what was recorded, loss, gradient and banks."""
  arrays = golden.load(path)
  options = _options(json.loads(str(arrays["config_json"])), keys)
  banks = None
  for call in _calls(arrays):
    rep = torch_golden.tensor(call["rep"]).requires_grad_()
    if banks is None:
      capacity = arrays["queue_size"].tolist()
      banks = torch_contrast.Banks(capacity, rep.shape[1], rep.device)
    labels = torch_golden.labels(call["label_small"])
    classes = torch.arange(call["prob"].shape[1]).reshape(1, -1, 1, 1)
    loss = torch_contrast.contrastive_loss(
      rep,
      torch_golden.tensor(call["rep_teacher"]),
      torch_golden.tensor(call["prob"]),
      labels[:, None] == classes,
      torch_golden.tensor(call["low_mask"]),
      torch_golden.tensor(call["high_mask"]),
      int(call["num_labeled"]),
      banks,
      options,
      torch_golden.first_ones,
    )
    loss.backward()
    yield arrays, call, loss.item(), rep.grad, banks


@golden.every_file("contra")
def test_loss_gradient_and_banks(path):
  """Loss 1e-5 relative, gradient 1e-6 absolute, banks exact."""
  for number, (arrays, call, loss, gradient, banks) in enumerate(
    _replay(path, "reference"), start=1
  ):
    np.testing.assert_allclose(loss, call["loss_corrected"], rtol=1e-5)
    np.testing.assert_allclose(
      gradient, call["grad_rep_corrected"], rtol=0, atol=1e-6
    )
    held = [len(keys) for keys in banks.keys]
    np.testing.assert_array_equal(held, call["queue_length"])
    if f"queue_after_call{number}" in arrays:
      keys = torch.cat(banks.keys)
      np.testing.assert_array_equal(keys, arrays[f"queue_after_call{number}"])


@golden.every_file("contra")
def test_loss_with_the_papers_keys(path):
  for _, call, loss, _, _ in _replay(path, "paper"):
    expected = call["loss_corrected_paper_negatives"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_full_banks_are_full():
  options = {"bank_capacity": 7, "bank_capacity_class0": 9}
  banks = torch_contrast.create_banks(
    options, 3, 5, torch.device("cpu"), "full", 0
  )
  assert [tuple(keys.shape) for keys in banks.keys] == [(9, 5), (7, 5), (7, 5)]
  banks.push(1, torch.ones(2, 5))
  assert banks.keys[1].shape == (7, 5)
  assert torch.equal(banks.keys[1][-2:], torch.ones(2, 5))
