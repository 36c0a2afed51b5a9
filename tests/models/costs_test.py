"""Costs of vision transformers agree with those of the published modules."""

import pytest

from tests import networks, tiny_vit
from u2pl_jax.models import costs, network

# GMAC of encoder and head; MiB that they keep; of these weights of attention.
# PyTorch's figures of one image in float32, 21 classes.
PUBLISHED = {
  ("s", 518): (46.7, 10.2, 978, 118, 516),
  ("s", 798): (167, 24.2, 3_999, 279, 2_901),
  ("b", 518): (152, 40.5, 1_954, 236, 1_031),
  ("b", 798): (472, 96.1, 7_991, 559, 5_802),
  ("l", 518): (507, 162, 5_199, 467, 2_749),
  ("l", 798): (1_503, 384, 21_283, 1_109, 15_472),
  ("g", 518): (1_783, 527, 13_842, 823, 6_873),
  ("g", 798): (4_981, 1_251, 55_213, 1_954, 38_681),
}
PARAMETERS = {
  "s": (22_056_576, 2_739_061),
  "b": (86_580_480, 10_948_309),
  "l": (304_368_640, 31_210_517),
  "g": (1_136_480_768, 122_267_925),
}


@pytest.mark.parametrize(
  "size, side",
  [
    pytest.param(*case, marks=() if case == ("s", 518) else pytest.mark.slow)
    for case in PUBLISHED
  ],
)
def test_they_are_those_of_the_published_modules(size, side):
  model = networks.make(
    num_classes=21,
    encoder=f"dinov2_vit{size}14",
    decoder="dpt",
    rep_channels=0,
  )
  encoder, rest = costs.of_parts(model, (side, side)).values()
  assert (encoder.parameters, rest.parameters) == PARAMETERS[size]
  found = (encoder.macs / 1e9, rest.macs / 1e9) + tuple(
    nbytes / 2**20
    for nbytes in (encoder.kept_bytes, rest.kept_bytes, encoder.scores_bytes)
  )
  assert found[:2] == pytest.approx(PUBLISHED[size, side][:2], rel=0.02)
  # PyTorch keeps the scaled queries beside the plain ones: for L at 518 px
  # these are 2.5 % of all.
  assert found[2:] == pytest.approx(PUBLISHED[size, side][2:], rel=0.025)


def kept(**changes):
  model = network.create(tiny_vit.make_sections(**changes), 5)
  return costs.of_parts(model, (56, 56))


def test_what_is_frozen_or_computed_again_keeps_less():
  plain = kept()["encoder"]
  again = kept(**{"encoder.keep_scores": False})["encoder"]
  assert plain.scores_bytes > 0 == again.scores_bytes
  assert again.kept_bytes == plain.kept_bytes - plain.scores_bytes
  blocks = kept(**{"model.remat": "blocks"})["encoder"]
  assert blocks.scores_bytes == 0 < blocks.kept_bytes < again.kept_bytes
  frozen = kept(**{"model.freeze": "encoder"})["encoder"]
  assert frozen.kept_bytes == 0


def test_copies_of_kernels_are_no_weights_of_attention():
  model = networks.make(num_classes=5, encoder="resnet18", dtype="bfloat16")
  encoder, rest = costs.of_parts(model, (65, 65)).values()
  assert encoder.scores_bytes == rest.scores_bytes == 0
