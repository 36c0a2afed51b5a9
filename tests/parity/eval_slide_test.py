"""Inference by sliding windows and on whole images equals the published."""

import jax
import numpy as np
import pytest

from tests.parity import golden, tiny_net
from u2pl_jax.evaluation import inference
from u2pl_jax.ops import resize


def _predict(case, logits_of):
  with jax.default_matmul_precision("highest"):
    logits = logits_of(golden.channels_last(case["image"]))
    logits = resize.resize_bilinear(logits, tuple(case["out_hw"].tolist()))
  return np.moveaxis(np.asarray(logits[0]), -1, 0)


def _cases(arrays, prefix):
  found = tiny_net.cases(arrays, prefix)
  if not found:
    pytest.skip(f"no case {prefix}* in this recording")
  return found


@golden.every_file("eval_slide")
def test_sliding_windows(path):
  arrays = golden.load(path)
  net = tiny_net.create(arrays)
  for case in _cases(arrays, "crop"):

    def slide(images, case=case):
      return inference.slide(
        net,
        images,
        tuple(case["crop_hw"].tolist()),
        stride_rate=float(case["stride_rate"]),
      )

    np.testing.assert_allclose(
      _predict(case, slide), case["prediction"], rtol=0, atol=1e-4
    )


@golden.every_file("eval_slide")
def test_whole_images(path):
  arrays = golden.load(path)
  net = tiny_net.create(arrays)
  for case in _cases(arrays, "whole"):
    np.testing.assert_allclose(
      _predict(case, net), case["prediction"], rtol=0, atol=1e-4
    )
