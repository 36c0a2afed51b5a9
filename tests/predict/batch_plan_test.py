"""Which images are predicted, in which batches."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from u2pl_jax.data import image_files
from u2pl_jax.evaluation import protocol
from u2pl_jax.predict import batch_plan, photographs


def make_settings(scales=(1.0,), kind="whole", **changes):
  seen = protocol.Protocol(kind, (9, 9), scales=scales)
  return batch_plan.Settings(seen, **changes)


def photo(name):
  return photographs.Photograph(pathlib.Path(f"{name}.png"), str(name))


def save(path, size):
  Image.fromarray(np.zeros(size, np.uint8)).save(path)
  return photographs.Photograph(path, path.stem)


def plan(sizes, num_devices=1, **changes):
  sized = [(photo(index), size) for index, size in enumerate(sizes)]
  return batch_plan.plan_batches(sized, make_settings(**changes), num_devices)


def test_few_sizes_are_not_padded():
  sizes = [(40, 30), (400, 3000), (40, 30), (3000, 400)]
  batches = plan(sizes)
  held = [
    (image.name, size, batch.shape[1:3])
    for batch in batches
    for image, size in zip(batch.images, batch.sizes, strict=True)
  ]
  assert {name: size for name, size, _ in held} == {
    str(index): size for index, size in enumerate(sizes)
  }
  assert all(size == shape for _, size, shape in held)
  # Most pixels come first.
  areas = [np.prod(batch.shape) for batch in batches]
  assert areas == sorted(areas, reverse=True)


def test_padding_is_weighed_against_compilation():
  small = [(100 + n, 90) for n in range(20)]
  assert set(batch_plan.choose_shapes(small).values()) == {(119, 90)}
  wide, high = [(300, 600)] * 50, [(600, 300)] * 50
  chosen = batch_plan.choose_shapes(wide + high)
  assert chosen == {(300, 600): (300, 600), (600, 300): (600, 300)}
  large = [(3000 + 100 * n, 4000) for n in range(40)]
  shapes = set(batch_plan.choose_shapes(large).values())
  assert 1 < len(shapes) <= 16


def test_no_image_is_mostly_padding():
  icon, photograph = (40, 30), (400, 3000)
  chosen = batch_plan.choose_shapes([icon, photograph])
  assert chosen == {icon: icon, photograph: photograph}
  # Of very many sizes some are.
  many = [(4**n % 1009 + 1, 3**n % 1013 + 1) for n in range(200)]
  assert len(set(batch_plan.choose_shapes(many).values())) <= 16


def test_the_number_of_shapes_can_be_chosen():
  sizes = [(8, 9), (9, 8), (7, 7)]
  assert set(batch_plan.choose_shapes(sizes, 1).values()) == {(9, 9)}
  assert batch_plan.choose_shapes(sizes, 3) == {size: size for size in sizes}


def test_no_image_needs_no_shape():
  assert batch_plan.choose_shapes([]) == {}
  assert plan([]) == []


@pytest.mark.parametrize(
  "count, num_devices, batch_size, rows",
  [
    (17, 1, 16, [9, 9]),  # As even as possible.
    (3, 1, 16, [3]),
    (3, 8, None, [8]),
    (17, 4, 6, [8, 8, 8]),  # Whole devices.
    (4, 1, None, [1, 1, 1, 1]),  # Large ones.
    (4, 2, None, [2, 2]),
  ],
)
def test_batches_are_even_and_suit_the_devices(
  count, num_devices, batch_size, rows
):
  batches = plan([(1000, 1000)] * count, num_devices, batch_size=batch_size)
  assert [batch.shape for batch in batches] == [
    (n, 1000, 1000, 3) for n in rows
  ]
  assert sum(len(batch.images) for batch in batches) == count


def test_large_scales_make_small_batches():
  assert plan([(250, 500)] * 4)[0].shape[0] == 4
  assert plan([(250, 500)] * 4, scales=(1.0, 2.0))[0].shape[0] == 1


def test_sizes_within_the_limits_are_taken(tmp_path):
  image = save(tmp_path / "a.png", (10, 20))
  assert batch_plan.check_size(image, make_settings()) == (10, 20)


@pytest.mark.parametrize(
  "size, changes, message",
  [
    (
      (10, 20),
      {"max_megapixels": 1e-4},
      "20x10 pixels, above --max_megapixels=0.0001; pass --protocol=slide to"
      " have it seen in windows, or raise the limit",
    ),
    (
      (10, 20),
      {"scales": (1, 500.0)},
      "10000x5000 pixels, above --max_megapixels=30; leave out the larger",
    ),
    (
      (10, 20),
      {"max_megapixels": 1e-4, "scales": (0.5,)},
      "20x10 pixels, above .* pass --protocol=slide and leave out --scales",
    ),
    (
      (10, 20),
      {"max_megapixels": 1e-4, "scales": (0.5,), "kind": "slide"},
      "20x10 pixels, above .*; leave out --scales to have it seen in windows",
    ),
    ((10, 1), {"scales": (0.25, 1)}, "nothing is left .* --scales"),
    (
      (1, 40_000),
      {},
      "40000x1 pixels, a side above 32768; pass --protocol=slide to have it",
    ),
    ((1, 30_000), {"scales": (1, 2)}, "60000x2 .*; leave out the larger"),
  ],
)
def test_sizes_beyond_the_limits_say_what_to_do(
  size, changes, message, tmp_path
):
  image = save(tmp_path / "a.png", size)
  with pytest.raises(image_files.UnreadableError, match=message) as caught:
    batch_plan.check_size(image, make_settings(**changes))
  assert str(caught.value).startswith(f"{image.path}: ")


def test_large_images_are_taken_in_windows(tmp_path):
  settings = make_settings(kind="slide", max_megapixels=1e-4)
  image = save(tmp_path / "a.png", (10, 20))
  assert batch_plan.check_size(image, settings) == (10, 20)
  assert batch_plan.is_large((10, 20), settings)
  assert not batch_plan.is_large((10, 10), settings)


@pytest.mark.parametrize(
  "window, batch_size, num_devices, count",
  [
    ((513, 513), None, 1, 1),  # Half a megapixel holds one, ...
    ((256, 256), None, 2, 16),  # ... or eight on each of two devices.
    ((2048, 2048), None, 4, 4),
    ((9, 9), 5, 4, 8),
  ],
)
def test_windows_at_once_suit_the_devices(
  window, batch_size, num_devices, count
):
  settings = batch_plan.Settings(
    protocol.Protocol("slide", window), batch_size=batch_size
  )
  assert batch_plan.count_windows(settings, num_devices) == count


def test_no_shape_is_above_the_limit():
  wide, high = (20, 10_000), (10_000, 20)
  batches = plan([wide, high, wide], max_shapes=1)
  assert [batch.shape for batch in batches] == [
    (2, *wide, 3),
    (1, *high, 3),
  ]


def test_images_that_are_done_leave_shapes_and_batches_as_they_are():
  sizes = [(100 + n, 90) for n in range(20)]
  sized = [(photo(index), size) for index, size in enumerate(sizes)]
  done = {image for image, _ in sized[3:]}  # The largest ones.
  settings = make_settings(batch_size=7)
  (batch,) = batch_plan.plan_batches(sized, settings, 1, done)
  assert batch.shape == (7, 119, 90, 3)
  assert [image.name for image in batch.images] == ["0", "1", "2"]
  assert batch_plan.plan_batches(sized, settings, 1, dict(sized)) == []
