"""What a network says about images, as every tool asks for it."""

import jax
import numpy as np
import pytest

from tests import tiny
from u2pl_jax.evaluation import outputs, protocol
from u2pl_jax.ops import normalize

WHOLE = protocol.Protocol("whole", (24, 24))
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def network():
  model = tiny.make_model()
  images = normalize.normalize(IMAGES[:1])
  key = jax.random.key(0)
  return model, model.init(key, images, train=False, dropout=False)


def predict(network, *names, settings=WHOLE):
  model, variables = network
  return outputs.make_predict(model, settings, names)(variables, IMAGES)


def test_all_outputs_are_of_the_same_logits(network):
  found = predict(network, *outputs.NAMES)
  logits = np.asarray(found["logits"])
  assert logits.shape == (*IMAGES.shape[:3], 5)
  probs = np.exp(logits - logits.max(-1, keepdims=True))
  probs /= probs.sum(-1, keepdims=True)
  np.testing.assert_array_equal(found["labels"], logits.argmax(-1))
  assert found["labels"].dtype == np.uint8
  np.testing.assert_allclose(found["probability"], probs.max(-1), rtol=1e-5)
  np.testing.assert_allclose(
    found["entropy"], -(probs * np.log(probs)).sum(-1), rtol=1e-5
  )


def test_only_what_is_asked_for_is_computed(network):
  assert predict(network, "labels").keys() == {"labels"}
  model, variables = network
  text = {
    name: outputs.make_predict(model, WHOLE, (name,))
    .lower(variables, IMAGES)
    .as_text()
    for name in ("labels", "entropy")
  }
  assert "stablehlo.log" not in text["labels"]
  assert "stablehlo.log" in text["entropy"]


def test_images_are_seen_as_the_protocol_says(network):
  mirrored = protocol.Protocol("whole", (24, 24), flip=True)
  logits = predict(network, "logits", settings=mirrored)["logits"]
  model, variables = network
  flipped = outputs.make_predict(model, mirrored, ("logits",))(
    variables, IMAGES[:, :, ::-1]
  )["logits"]
  np.testing.assert_allclose(logits, flipped[:, :, ::-1], atol=1e-5)
