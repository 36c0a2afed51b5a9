"""Evaluation as both versions of UniMatch publish it."""

import jax
import numpy as np

from tests.parity import golden, tiny_net, unimatch_step
from u2pl_jax.evaluation import metrics
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.models import forward

# What the repositories call them.
_KINDS = {"sliding_window": "slide", "original": "whole"}
_RULES = {1: "cut", 2: "shifted"}


class _Net:
  """The recorded network of two convolutions; notes the sizes that it sees."""

  def __init__(self, arrays, multiple):
    self.multiple = multiple
    self.seen = []
    self._weights = {
      layer: (
        arrays[f"net/{layer}.weight"].transpose(2, 3, 1, 0),
        arrays[f"net/{layer}.bias"],
      )
      for layer in ("0", "2")
    }

  def _conv(self, x, layer, dilation):
    kernel, bias = self._weights[layer]
    return bias + jax.lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      [(dilation, dilation)] * 2,
      rhs_dilation=(dilation, dilation),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  def apply(self, variables, images, *, train, dropout):
    del variables
    assert not train and not dropout
    self.seen.append(images.shape[1:3])
    return {
      "logits": self._conv(jax.numpy.tanh(self._conv(images, "0", 1)), "2", 2)
    }


def _cases(path):
  """(settings, arrays) of each case."""
  arrays = golden.load(path)
  config = unimatch_step.config_of(arrays)
  for settings, case in zip(
    config["cases"], tiny_net.cases(arrays, "case"), strict=True
  ):
    yield config, settings, arrays, case


def _predict(config, settings, arrays, case):
  """Predictions of the images of a case, and the sizes the network saw."""
  protocol = protocol_lib.Protocol(
    kind=_KINDS[settings["mode"]],
    window=(settings["crop"],) * 2,
    windows=_RULES[config["version"]],
  )
  net = _Net(arrays, settings["multiplier"] or 1)
  predictions = []
  for index in range(len(settings["sizes"])):
    images = case[f"image{index}_q"].astype(np.float32)
    images = golden.channels_last(images) / config["image_scale"]
    with jax.default_matmul_precision("highest"):
      logits = jax.jit(
        lambda images: protocol.compute_logits(
          forward.make_net(net, {}), images
        )
      )(images)
    predictions.append(np.argmax(logits, axis=-1))
  return predictions, net.seen


def _replayed(path):
  for each in _cases(path):
    yield *each, _predict(*each)


@golden.every_file("unimatch_eval")
def test_predictions(path):
  """At least 99.9 percent of the pixels."""
  for _, _, _, case, (predictions, _) in _replayed(path):
    for index, prediction in enumerate(predictions):
      assert np.mean(prediction == case[f"pred{index}"]) >= 0.999


@golden.every_file("unimatch_eval")
def test_sizes_that_the_network_sees(path):
  """Of the windows, or of whole images as multiples of 14."""
  for _, _, _, case, (_, seen) in _replayed(path):
    recorded = set(map(tuple, case["network_input_hw"].tolist()))
    assert set(seen) == recorded


@golden.every_file("unimatch_eval")
def test_scores(path):
  """From the recorded predictions: counts exact, IoU within 0.05 percent.

  There a class that occurs nowhere counts as 0; here it is left out of the
  mean.
  """
  for config, _, _, case in _cases(path):
    total = 0
    count = sum(name.startswith("pred") for name in case)
    for index in range(count):
      total = total + np.asarray(
        metrics.confusion_matrix(
          case[f"label{index}"].astype(np.int32),
          case[f"pred{index}"].astype(np.int32),
          config["K"],
        )
      )
    intersection = np.diag(total)
    np.testing.assert_array_equal(intersection, case["intersection"])
    union = total.sum(0) + total.sum(1) - intersection
    np.testing.assert_array_equal(union, case["union"])
    scores = metrics.compute_scores(total)
    iou = np.nan_to_num(scores.iou)
    np.testing.assert_allclose(iou, case["iou"], rtol=0, atol=0.05)
    miou = scores.miou * (1 - len(scores.absent) / config["K"])
    np.testing.assert_allclose(miou, case["miou"], rtol=0, atol=0.05)
