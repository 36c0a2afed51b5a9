"""UniMatch V2's evaluation of whole images and of windows."""

import json

import jax
import numpy as np

from tests.parity import dpt_model_test, golden, vit
from u2pl_jax.evaluation import metrics, protocol
from u2pl_jax.models import forward

# Scores, in standard deviations: float32 source positions of the resizing show.
_SCORES = 5e-4
_MARGIN = 1e-3  # Of the two best classes, below which rounding decides.


@golden.once_per_input
def _run(config_json, name, index):
  """Logits of one image of a set, [H, W, K]; probabilities for windows."""
  config = json.loads(str(config_json))
  about, salt = config["sets"][str(name)], config["salt"]
  model, variables = dpt_model_test.build(config["size"], about["nclass"], salt)
  size = about["sizes"][int(index)]
  image = vit.make_image(about["images"][int(index)], (1, 3, *size), salt)
  window = (about["crop_size"],) * 2
  slides = about["mode"] == "sliding_window"
  rules = {"windows": "shifted"} if slides else {}
  evaluated = protocol.Protocol("slide" if slides else "whole", window, **rules)

  def run(variables, image):
    net = forward.make_net(model, variables)
    return evaluated.compute_logits(net, golden.channels_last(image))

  with jax.default_matmul_precision("highest"):
    logits = np.asarray(jax.jit(run)(variables, image))
  return np.exp(logits) if slides else logits


def _cases(arrays):
  """(prefix, what the set is, number of classes, result) of each image."""
  config = json.loads(str(arrays["config_json"]))
  for name, about in config["sets"].items():
    for index in range(len(about["images"])):
      scores = _run(arrays["config_json"], name, index)
      yield f"{name}/{index}/", about, scores


def _coverage(size, about):
  """How many windows see each pixel of a side, for both sides."""
  window, counts = about["crop_size"], []
  stride = int(window * 2 / 3)
  for side in size:
    count = np.zeros(side)
    starts = range(0, side - window + stride, stride)
    for start in sorted({min(start, side - window) for start in starts}):
      count[start : start + window] += 1
    counts.append(count)
  return np.outer(*counts)[..., None]


@golden.every_file("dpt_evaluate")
def test_scores(path):
  """Published scores of windows are sums, ours are means."""
  arrays = golden.load(path)
  for prefix, about, scores in _cases(arrays):
    if about["mode"] == "sliding_window":
      scores = scores * _coverage(scores.shape[1:3], about)
    actual = np.moveaxis(scores, -1, 1)[:, :, ::4, ::4]
    assert golden.relative_error(actual, arrays[f"{prefix}scores"]) < _SCORES


@golden.every_file("dpt_evaluate")
def test_predictions_and_counts(path):
  arrays = golden.load(path)
  for prefix, about, scores in _cases(arrays):
    found = np.argmax(scores, -1)
    second, first = np.moveaxis(np.sort(scores, -1)[..., -2:], -1, 0)
    unsure = first - second < _MARGIN
    assert not np.any((found != arrays[f"{prefix}pred"]) & ~unsure)
    label = arrays[f"{prefix}label"]
    valid = label != 255
    classes = np.arange(about["nclass"])[:, None, None, None]
    hit = (found == classes) & valid, (label == classes) & valid
    both = {
      "intersection": hit[0] & hit[1],
      "union": hit[0] | hit[1],
      "target": hit[1],
    }
    for name, mask in both.items():
      count = mask.sum((1, 2, 3))
      assert np.all(np.abs(count - arrays[prefix + name]) <= unsure.sum())


@golden.every_file("dpt_evaluate")
def test_means(path):
  """There a class that never occurs counts as 0, here it is left out."""
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  for name, about in config["sets"].items():
    confusion = np.zeros((about["nclass"],) * 2, np.int64)
    for index in range(len(about["images"])):
      label = arrays[f"{name}/{index}/label"]
      found = arrays[f"{name}/{index}/pred"]
      pairs = label[label != 255], found[label != 255]
      np.add.at(confusion, pairs, 1)
    scores = metrics.compute_scores(confusion)
    iou = np.nan_to_num(scores.iou)
    np.testing.assert_allclose(iou, arrays[f"{name}/iou"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(iou.mean(), arrays[f"{name}/miou"], rtol=1e-5)


@golden.every_file("dpt_evaluate")
def test_sizes_that_the_network_sees(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  for about in config["sets"].values():
    if about["mode"] == "original":
      seen = [
        [forward.nearest_multiple(side, about["multiplier"]) for side in size]
        for size in about["sizes"]
      ]
      assert seen == about["model_input_sizes"]
