"""Which steps a gallery shows, with whose names, and how it is drawn."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from tests import saved_state, tiny_run
from u2pl_jax.data import streams
from u2pl_jax.experiment import inputs
from u2pl_jax.methods import pictures
from u2pl_jax.report import lessons, lessons_page

PALETTE = ((9, 8, 7), (255, 0, 1), (3, 200, 4))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """A folder of data/ and two runs of six steps, saved at the fourth."""
  folder = tmp_path_factory.mktemp("runs")
  data_dir = tiny_run.make_dataset(folder / "data")
  settings = {"semi.supervised_epochs": 0}
  for name, arg in (("u2pl", ""), ("ael", "method=u2pl_ael")):
    config = tiny_run.make_config(data_dir, arg, **settings)
    saved_state.write_run(folder / name, config, 4)
  # Its supervised epoch are the first two steps.
  config = tiny_run.make_config(data_dir)
  saved_state.write_run(folder / "supervised", config, 2)
  return folder


def names_at(workdir, index):
  """The ids of a step's images, by kind."""
  exp = lessons._open(workdir, None)
  return streams.ids_at_step(
    exp.dataset, exp.split, index, batch_size_l=8, batch_size_u=8, seed=0
  )


def test_images_are_those_of_the_step_after_the_checkpoint(runs):
  found = lessons.collect(runs / "u2pl", "last", count=3)
  assert (found.saved, found.steps, found.phase) == (4, (5, 5), "semi")
  ids = names_at(runs / "u2pl", 4)
  for images in found.images:
    assert list(images.names) == ids[images.group.source][:3]
    for picture in images.group.pictures:
      assert len(picture.values) == 3
  exp = lessons._open(runs / "u2pl", None)
  batch = next(inputs.train_batches(exp, 4))
  _, unlabeled = found.images
  np.testing.assert_array_equal(
    unlabeled.group.pictures[0].values, batch["image_u"][:3]
  )


def test_more_images_take_more_steps_and_end_with_the_run(runs):
  found = lessons.collect(runs / "u2pl", "last", count=20)
  assert found.steps == (4, 6)
  ids = [names_at(runs / "u2pl", index)["unlabeled"] for index in (3, 4, 5)]
  assert list(found.images[1].names) == sum(ids, [])[:20]


def test_any_step_of_the_phase_may_be_asked_for(runs):
  found = lessons.collect(runs / "u2pl", "best", count=1, step=2)
  assert (found.saved, found.steps) == (4, (2, 2))
  with pytest.raises(ValueError, match="--step=7: .*'semi'.* 1 to 6"):
    lessons.collect(runs / "u2pl", "last", count=1, step=7)


def test_a_checkpoint_of_another_phase_shows_that_phase(runs):
  found = lessons.collect(runs / "supervised", "last", count=1)
  assert (found.steps, found.phase) == ((2, 2), "supervised")
  assert [images.group.source for images in found.images] == ["labeled"]
  with pytest.raises(ValueError, match="--step=3: .*'supervised'.* 1 to 2"):
    lessons.collect(runs / "supervised", "last", count=1, step=3)


def test_of_images_chosen_in_training_only_a_few_are_known(runs):
  found = lessons.collect(runs / "ael", "last", count=100, step=1)
  assert found.steps == (1, 3)
  assert len(found.images[1].names) == 24


@pytest.fixture(scope="module")
def drawn():
  """Lessons of one group of two images, 2 by 4 pixels."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (2, 2, 4, 3), np.uint8)
  labels = np.array([[[0, 1], [2, 255]], [[1, 1], [0, 0]]], np.int32)
  frame = np.zeros((2, 2, 4), bool)
  frame[:, :, :2] = True
  group = pictures.Group(
    "Some <images>",
    "",
    (
      pictures.Picture("Image", "It & others.", "image", image, frame=frame),
      pictures.Picture("Label", "Colors.", "classes", labels),
      pictures.Picture("Share", "Gray.", "share", labels / 255),
      pictures.Picture(
        "Marks",
        "Words.",
        "marks",
        np.minimum(labels, 2),
        marks=(("fine", "good"), ("poor", "bad"), ("no word", "none")),
      ),
    ),
  )
  config = {
    "method": "u2pl",
    "recipe": "paper",
    "seed": 0,
    "data": {"name": "toy", "split": "1"},
    "model": {"encoder": "resnet18"},
  }
  return lessons.Lessons(
    config, "runs/a", 4, (5, 6), "semi", ("a", "b", "c"), PALETTE,
    (lessons.Images(group, ("one", "two")),),
  )  # fmt: skip


def test_pictures_have_one_size_and_their_colors(drawn):
  images = drawn.images[0]
  image, label, share, marks = lessons_page.draw(images.group, 0, PALETTE)
  for picture in (image, label, share, marks):
    assert picture.pixels.shape == (2, 4, 3)
  # Black inside the frame, white beside it, and the rest as it was.
  assert (image.pixels[:, 1] == 0).all() and (image.pixels[:, 2] == 255).all()
  original = images.group.pictures[0].values[0]
  np.testing.assert_array_equal(image.pixels[:, ::3], original[:, ::3])
  expected = np.array([[PALETTE[0], PALETTE[1]], [PALETTE[2], (255,) * 3]])
  np.testing.assert_array_equal(label.pixels, expected.repeat(2, 1))
  assert share.pixels[1, 3].tolist() == [255] * 3
  assert share.pixels[0, 0].tolist() == [0] * 3
  green, red = marks.pixels[0, 0], marks.pixels[0, 3]
  assert green.argmax() == 1 and red.argmax() == 0


def test_the_page_says_in_words_what_it_shows(drawn):
  html = lessons_page.render(drawn)
  assert html.count('<article class="card"') == 2
  assert html.count("data:image/webp") == 8
  text = re.sub(r"<(style|script).*?</\1>", "", html, flags=re.S)
  for words in (
    "Some &lt;images&gt;", "It &amp; others.", "fine", "poor",
    "U2PL · recipe paper · toy, split 1 · resnet18 · seed 0",
    "the networks of step 4, the batches of steps 5 to 6",
  ):  # fmt: skip
    assert words in text, words


def test_the_sheet_holds_every_picture_enlarged(drawn):
  content = lessons_page.draw_sheet(drawn)
  sheet = np.asarray(Image.open(io.BytesIO(content)))[..., :3]
  pixels = lessons_page.draw(drawn.images[0].group, 1, PALETTE)[1].pixels
  large = pixels.repeat(72, 0).repeat(72, 1)
  top, left = 28 + 2 * 40 + 144 + 12, 28 + 288 + 12
  np.testing.assert_array_equal(
    sheet[top : top + 144, left : left + 288], large
  )
