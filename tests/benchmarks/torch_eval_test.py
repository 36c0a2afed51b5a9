"""The peer's sliding windows equal the recorded ones of the published code."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.peers import torch_eval  # noqa: E402
from tests.benchmarks import torch_golden  # noqa: E402
from tests.parity import golden, tiny_net  # noqa: E402


def _make_net(arrays):
  weights = {
    name: torch_golden.tensor(arrays[f"net/{name}"])
    for name in ("c1.weight", "c1.bias", "c2.weight", "c2.bias")
  }

  def net(images):
    hidden = torch.nn.functional.conv2d(
      images,
      weights["c1.weight"],
      weights["c1.bias"],
      int(arrays["net/stride"]),
      padding=1,
    )
    return torch.nn.functional.conv2d(
      hidden.relu(), weights["c2.weight"], weights["c2.bias"]
    )

  return net


@golden.every_file("eval_slide")
def test_sliding_windows(path):
  """Within 1e-4."""
  arrays = golden.load(path)
  net = _make_net(arrays)
  cases = tiny_net.cases(arrays, "crop")
  assert cases
  for case in cases:
    logits = torch_eval.slide(
      net,
      torch_golden.tensor(case["image"]),
      arrays["net/c2.weight"].shape[0],
      tuple(case["crop_hw"].tolist()),
      tuple(case["out_hw"].tolist()),
      float(case["stride_rate"]),
    )
    np.testing.assert_allclose(logits[0], case["prediction"], rtol=0, atol=1e-4)
