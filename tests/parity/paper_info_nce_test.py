"""InfoNCE of each class and its mean, by an oracle of the paper."""

import jax
import numpy as np

from tests.parity import golden
from u2pl_jax.losses import contrastive

_info_nce = jax.jit(contrastive.info_nce)
_mean = jax.jit(contrastive.mean_over_classes, static_argnames="divide_by")


def _assert_close(ours, recorded):
  """README, section 12: 1e-5; taken as relative above 1, absolute below."""
  scale = np.maximum(np.abs(recorded), 1)
  np.testing.assert_allclose(ours / scale, recorded / scale, rtol=0, atol=1e-5)


@golden.every_file("paper_info_nce")
def test_loss_of_each_class_and_their_mean(path):
  arrays = golden.load(path)
  negatives = arrays["negatives"]
  keys = negatives.reshape(-1, negatives.shape[-1])
  rows = np.arange(len(keys)).reshape(negatives.shape[:-1])
  per_class = _info_nce(
    arrays["anchors"],
    arrays["positives"],
    keys,
    rows,
    temperature=arrays["temperature"],
  )
  _assert_close(per_class, arrays["per_class"])
  # Recorded is who contributes; all classes count as present.
  valid = arrays["valid"]
  present = np.ones_like(valid)
  loss = _mean(per_class, valid, present, divide_by="contributing")
  _assert_close(loss, arrays["loss"])
