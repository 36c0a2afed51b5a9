"""Intersections, unions and mIoU of label maps equal the published."""

import numpy as np

from tests.parity import golden, tiny_net
from u2pl_jax.evaluation import metrics


# The recorded case `edge_label_equals_K` is left out: there a label K, which is
# no class, counts as class K - 1, by the last bin of a histogram. Here such a
# label is refused when a dataset is prepared.
@golden.every_file("eval_iou")
def test_counts_and_iou(path):
  cases = tiny_net.cases(golden.load(path), "case")
  assert cases
  for case in cases:
    confusion = np.asarray(
      metrics.confusion_matrix(
        case["target"].astype(np.int32),
        case["output"].astype(np.int32),
        int(case["num_classes"]),
      )
    )
    intersection = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    np.testing.assert_array_equal(intersection, case["intersection"])
    np.testing.assert_array_equal(union, case["union"])
    np.testing.assert_array_equal(confusion.sum(1), case["target_area"])
    # Differs from U2PL: a class absent from both maps counts as 0 there and is
    # left out of the mean here.
    scores = metrics.compute_scores(confusion)
    iou = np.nan_to_num(scores.iou) / 100
    np.testing.assert_allclose(iou, case["iou"], rtol=1e-9)
    np.testing.assert_allclose(iou.mean(), case["miou"], rtol=1e-9)
    present = case["union"] > 0
    np.testing.assert_allclose(
      scores.miou, 100 * case["iou"][present].mean(), rtol=1e-9
    )
