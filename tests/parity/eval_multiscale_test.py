"""Multi-scale evaluation of a small set of images equals the published.

Recordings with a base size follow the protocol on Cityscapes (the longer side
is scaled to it, sliding windows), the others that on PASCAL VOC (whole images
at multiples of their own size).
"""

import jax
import numpy as np

from tests.parity import golden, tiny_net
from u2pl_jax.evaluation import metrics, protocol
from u2pl_jax.ops import normalize


def _score_sum(arrays, index):
  """Logits summed over the scales, [H, W, K]."""
  scales = tuple(arrays["scales"].tolist())
  if "base_size" in arrays:
    settings = {
      "kind": "slide",
      "window": tuple(arrays["crop_hw"].tolist()),
      "base_size": int(arrays["base_size"]),
    }
  else:
    settings = {"kind": "whole", "window": (0, 0)}
  published = protocol.Protocol(scales=scales, **settings)
  with jax.default_matmul_precision("highest"):
    images = normalize.normalize(arrays[f"image{index}_rgb"][None])
    mean = published.compute_logits(tiny_net.create(arrays), images)
    return np.asarray(mean[0]) * len(scales)


def _num_images(arrays):
  return sum(name.endswith("_rgb") for name in arrays)


@golden.every_file("eval_multiscale")
def test_summed_logits(path):
  arrays = golden.load(path)
  assert _num_images(arrays) > 0
  for index in range(_num_images(arrays)):
    sample = np.moveaxis(_score_sum(arrays, index), -1, 0)[:, ::3, ::3]
    np.testing.assert_allclose(
      sample, arrays[f"score_sum{index}"], rtol=0, atol=1e-4
    )


@golden.every_file("eval_multiscale")
def test_predictions(path):
  arrays = golden.load(path)
  for index in range(_num_images(arrays)):
    scores = _score_sum(arrays, index)
    top = np.sort(scores, axis=-1)
    margin = top[..., -1] - top[..., -2]
    np.testing.assert_allclose(
      margin.min(), arrays[f"min_margin{index}"], rtol=0, atol=1e-4
    )
    wrong = scores.argmax(-1) != arrays[f"gray{index}"]
    assert not np.any(wrong & (margin >= 1e-3))


@golden.every_file("eval_multiscale")
def test_intersections_and_unions(path):
  """From the recorded maps; predictions may differ where margins are small."""
  arrays = golden.load(path)
  if "intersection" not in arrays:
    return
  total = 0
  num_classes = len(arrays["intersection"])
  for index in range(_num_images(arrays)):
    total = total + np.asarray(
      metrics.confusion_matrix(
        arrays[f"label{index}"].astype(np.int32),
        arrays[f"gray{index}"].astype(np.int32),
        num_classes,
      )
    )
  intersection = np.diag(total)
  union = total.sum(0) + total.sum(1) - intersection
  np.testing.assert_array_equal(intersection, arrays["intersection"])
  np.testing.assert_array_equal(union, arrays["union"])
  # The published mean counts a class that occurs nowhere as 0.
  iou = np.nan_to_num(metrics.compute_scores(total).iou) / 100
  np.testing.assert_allclose(iou, arrays["iou"], rtol=1e-5)
  np.testing.assert_allclose(iou.mean(), arrays["miou"], rtol=1e-5)
