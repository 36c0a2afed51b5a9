"""The peer's losses and masks equal the recorded ones of the published code."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.peers import torch_losses, torch_network  # noqa: E402
from tests.benchmarks import torch_golden  # noqa: E402
from tests.parity import golden  # noqa: E402


@golden.every_file("loss_unsup")
def test_unsupervised_loss_and_gradient(path):
  arrays = golden.load(path)
  labels = torch_golden.labels(arrays["target"])
  teacher = torch_golden.tensor(arrays["pred_teacher"])
  for index, percent in enumerate(arrays["percents"].tolist()):
    student = torch_golden.tensor(arrays["predict"]).requires_grad_()
    loss = torch_losses.unsupervised_loss(student, labels, teacher, percent)
    loss.backward()
    np.testing.assert_allclose(loss.item(), arrays["loss"][index], rtol=1e-5)
    np.testing.assert_allclose(
      student.grad[:, ::5, ::4, ::4],
      arrays[f"grad_sample_{index}"],
      rtol=1e-4,
      atol=1e-7,
    )


@golden.every_file("criterion")
def test_supervised_loss(path):
  """Within 1e-5 relative."""
  arrays = golden.load(path)
  cases = json.loads(str(arrays["cases_json"]))
  assert cases
  for case in cases:
    options = {
      "kind": case["type"] if case["type"] == "ohem" else "ce",
      "ohem_threshold": case.get("thresh"),
      "ohem_min_kept": case.get("min_kept"),
      "aux_weight": 0.4,
    }
    names = ("pred", "aux") if case["aux"] else ("pred",)
    outputs = {name: torch_golden.tensor(arrays[name]) for name in names}
    loss = torch_losses.supervised_loss(
      outputs, torch_golden.labels(arrays["target"]), options
    )
    expected = arrays[f"{case['tag']}/loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5, err_msg=case["tag"])


def _teacher(arrays):
  """Logits of the unlabeled images at full size."""
  labels = torch_golden.labels(arrays["label_u_aug"])
  logits = arrays["teacher_train_logits_small"][int(arrays["num_labeled"]) :]
  logits = torch_golden.tensor(logits)
  return torch_network.resize(logits, labels.shape[1:]), labels


def _epochs(arrays):
  for epoch in arrays["epoch_list"].tolist():
    prefix = f"epoch{epoch}/"
    names = [name for name in arrays if name.startswith(prefix)]
    yield {name.removeprefix(prefix): arrays[name] for name in names}


@golden.every_file("partition")
def test_masks_of_both_sizes(path):
  """Exact but for pixels within 1e-5 of a threshold."""
  arrays = golden.load(path)
  teacher, labels = _teacher(arrays)
  entropy = torch_losses.entropy(teacher).numpy()
  expected = arrays["entropy_u_large"]
  np.testing.assert_allclose(entropy, expected, rtol=0, atol=1e-5)
  small = arrays["teacher_train_logits_small"].shape[2:]
  num_labeled = int(arrays["num_labeled"])
  for recorded in _epochs(arrays):
    masks = torch_losses.partition(
      teacher, labels, float(recorded["alpha_t"]), "lowest"
    )
    for name, mask in zip(("low", "high"), masks, strict=True):
      gap = np.abs(expected - recorded[f"{name}_thresh"])
      bits = recorded[f"{name}_entropy_mask_large"]
      large = golden.unpack_mask(bits, labels.shape)
      assert np.all((mask.numpy() == large) | (gap <= 1e-5))
      if name == "high" and not arrays["negative_high_entropy"]:
        continue  # Recorded as all ones, which no published recipe uses.
      shrunk = torch_losses.shrink(mask[:, None].float(), tuple(small))
      is_near = torch_golden.tensor(gap <= 1e-5)[:, None].float()
      is_near = torch_losses.shrink(is_near, tuple(small))
      expected_small = recorded[f"{name}_mask_small"][num_labeled:]
      differs = shrunk.numpy() != expected_small
      assert not np.any(differs & (is_near.numpy() == 0))


@golden.every_file("partition")
def test_one_hot_labels_with_the_published_slip(path):
  arrays = golden.load(path)
  for subset, name in (("l", "label_l"), ("u", "label_u_aug")):
    expected = arrays[f"label_{subset}_small_onehot"]
    labels = torch_golden.labels(arrays[name])
    found = torch_losses.one_hot(labels, expected.shape[1], len(labels))
    small = torch_losses.shrink(found, tuple(expected.shape[2:]))
    np.testing.assert_array_equal(small, expected)


def test_one_hot_labels_without_it():
  labels = torch.tensor([[[0, 2, 255]], [[1, 255, 2]]])
  found = torch_losses.one_hot(labels, 3)
  expected = (labels[:, None] == torch.arange(3).reshape(1, 3, 1, 1)).float()
  np.testing.assert_array_equal(found, expected)


@golden.every_file("partition")
def test_unsupervised_loss_of_the_loop(path):
  arrays = golden.load(path)
  teacher, labels = _teacher(arrays)
  student = torch_golden.tensor(arrays["student_logits_small_unlabeled"])
  student = torch_network.resize(student, labels.shape[1:])
  for recorded in _epochs(arrays):
    loss = torch_losses.unsupervised_loss(
      student, labels, teacher, float(recorded["percent_unsup"])
    )
    np.testing.assert_allclose(loss, recorded["unsup_loss"], rtol=1e-5)


def test_paper_partition_leaves_no_pixel_out():
  logits = torch.randn(2, 5, 9, 9, generator=torch.Generator().manual_seed(0))
  labels = torch.argmax(logits, dim=1)
  labels[0, 0] = torch_losses.IGNORE_LABEL
  reliable, unreliable = torch_losses.partition(
    logits, labels, 20.0, "below_unreliable"
  )
  valid = labels != torch_losses.IGNORE_LABEL
  assert torch.equal(reliable | unreliable, valid)
  share = unreliable.sum() / valid.sum()
  assert abs(share - 0.2) < 0.01
