"""Windows that are cut and added up by rows, beside `inference.slide`."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import tiny_network
from tests.tools import photos
from u2pl_jax.evaluation import outputs
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.predict import batch_plan, grids, windows
from u2pl_jax.runtime import sharding

WINDOW = (33, 41)
MAPS = ("probability", "entropy")


@pytest.fixture(scope="module")
def network():
  """Balanced, so that it sees several classes."""
  found = tiny_network.make_trained()
  image = make_image((150, 131))
  mean = slide(found, make_settings(), image)["logits"].mean((0, 1))
  output = found.variables["params"]["decoder"]["classifier"]["output"]
  output["bias"] = output["bias"] - mean
  return found


def make_settings(flip=False, **changes):
  protocol = protocol_lib.Protocol("slide", WINDOW, flip=flip)
  return batch_plan.Settings(protocol, maps=MAPS, **changes)


def make_image(size):
  """Squares of few colors."""
  colors = photos.make_image(size=[side // 16 + 1 for side in size])
  squares = (colors > 127).repeat(16, axis=0).repeat(16, axis=1)
  return (squares[: size[0], : size[1]] * 255).astype(np.uint8)


def make_program(network, settings, num_devices=8):
  mesh = sharding.create_mesh(devices=jax.devices()[:num_devices])
  variables = jax.device_put(network.variables, sharding.replicate(mesh))
  return windows.make_program(network, variables, settings, mesh)


def predict(program, image):
  told = []
  found = windows.predict(program, image, ("masks", *MAPS), told.append)
  assert sum(told) == program.grid_of(image.shape[:2]).num_windows
  return found


def slide(network, settings, image):
  """Logits and maps of the whole image at once."""
  names = ("logits", *MAPS)
  compute = outputs.make_predict(network.model, settings.protocol, names)
  return {
    name: np.asarray(value[0])
    for name, value in compute(network.variables, image[None]).items()
  }


def assert_same(found, expected):
  """Classes but for ties, and gray values that were rounded."""
  top = np.sort(expected["logits"], axis=-1)
  is_clear = top[..., -1] - top[..., -2] > 1e-4
  assert is_clear.mean() > 0.99
  labels = expected["logits"].argmax(-1)
  np.testing.assert_array_equal(found["masks"][is_clear], labels[is_clear])
  highest = {"probability": 1, "entropy": np.log(5)}
  for name in MAPS:
    np.testing.assert_allclose(
      found[name], 255 * expected[name] / highest[name], atol=0.51
    )


@pytest.mark.parametrize("flip", [False, True])
def test_one_program_serves_images_of_all_sizes_as_slide_does(network, flip):
  settings = make_settings(flip)
  program = make_program(network, settings)
  for size in ((150, 131), (33, 200), (70, 20), (5, 1)):
    image = make_image(size)
    expected = slide(network, settings, image)
    assert_same(predict(program, image), expected)
    if min(size) > 100:
      assert len(np.unique(expected["logits"].argmax(-1))) > 1


@pytest.mark.parametrize("num_devices, batch_size", [(1, 1), (1, 7), (8, None)])
def test_batches_and_devices_do_not_matter(network, num_devices, batch_size):
  settings = make_settings(batch_size=batch_size)
  program = make_program(network, settings, num_devices)
  assert program.batch_size % num_devices == 0
  image = make_image((90, 120))
  assert_same(predict(program, image), slide(network, settings, image))


def test_pixels_weigh_one_in_all():
  for length, window in ((100, 33), (33, 33), (20, 33), (1, 8)):
    side = grids.lay_windows(length, window, 2 / 3)
    total = np.zeros(length)
    for start, weights in zip(side.starts, side.weights, strict=True):
      own, within = side.inside(start)
      total[own] += weights[within]
      assert weights.sum() == pytest.approx(weights[within].sum())
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_only_the_rows_of_a_window_are_kept(network):
  settings = make_settings(batch_size=1)
  small = make_program(network, settings, 1)
  counts = [
    windows.count_bytes(small, small.grid_of(size)) - small.memory
    for size in ((100, 100), (100_000, 100), (100, 1000))
  ]
  assert counts == [4 * 5 * 33 * 100, 4 * 5 * 33 * 100, 4 * 5 * 33 * 1000]
  wide = dataclasses.replace(settings.protocol, flip=True)
  grid = grids.lay_grid((10_000, 10_000), wide)
  # Strides are 22 and 28: ceil((10000 - side) / stride) + 1.
  assert grid.num_windows == 2 * 455 * 357
  assert len(list(grids.order(grid))) == grid.num_windows
