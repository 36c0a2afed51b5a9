"""A network in a file, and `predict` on it."""

import pytest

from tests import tiny_network
from u2pl_jax.predict import trained
from u2pl_jax.tools import predict


@pytest.fixture(scope="module")
def network():
  return tiny_network.make_trained()


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
  path = tmp_path_factory.mktemp("network") / "net.safetensors"
  trained.save_safetensors(network, path)
  return path


@pytest.fixture
def run(checkpoint, tmp_path):
  """Runs the program on a folder; returns its exit code."""

  def call(images, *options, out=tmp_path / "out"):
    return predict.main(
      [
        f"--weights={checkpoint}",
        f"--images={images}",
        f"--out={out}",
        *options,
      ]
    )

  return call
