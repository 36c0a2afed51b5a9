"""The checks every image and mask must pass before it is stored."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_prep import examples
from tests import picture_files
from u2pl_jax.data import preprocess

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (12, 16, 3), np.uint8)
MASK = RNG.choice(np.uint8([0, 1, 2, 255]), (12, 16))


encode = picture_files.encode


def check(image, mask=None, **options):
  def to_file(name, content):
    return examples.File(name, lambda: content)

  if mask is not None:
    mask = examples.id_mask(to_file("a mask.png", mask))
  raw = examples.RawExample("an id", to_file("an image.jpg", image), mask)
  return examples.check_example(raw, num_classes=3, **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("pixels", [IMAGE, IMAGE[..., 0]], ids=["rgb", "gray"])
def test_bytes_of_good_files_are_kept(kind, pixels):
  image, mask = encode(pixels, kind), encode(MASK)
  checked = check(image, mask)
  assert checked.image == image and checked.label == mask
  assert checked.id == "an id" and checked.has_label
  assert checked.pixel_counts[[0, 1, 2, 255]].sum() == MASK.size
  assert checked.pixel_counts[1] == (MASK == 1).sum()


def test_palette_masks_keep_their_indices():
  palette_mask = Image.fromarray(MASK)
  palette_mask.putpalette(list(range(255, -1, -1)) * 3)
  assert palette_mask.mode == "P"
  checked = check(encode(IMAGE), encode(palette_mask))
  stored = Image.open(io.BytesIO(checked.label))
  assert stored.mode == "L"
  np.testing.assert_array_equal(np.asarray(stored), MASK)


def test_image_without_mask_gets_an_ignored_label():
  checked = check(encode(IMAGE))
  stored = np.asarray(Image.open(io.BytesIO(checked.label)))
  assert stored.shape == (12, 16) and (stored == 255).all()
  assert not checked.has_label and not checked.pixel_counts.any()


def test_a_single_pixel_is_an_image():
  assert check(encode(IMAGE[:1, :1]), encode(MASK[:1, :1])).has_label


def decode(checked):
  """Returns the image as training sees it."""

  def to_feature(content):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))

  features = {
    "image": to_feature(checked.image),
    "label": to_feature(checked.label),
  }
  example = tf.train.Example(features=tf.train.Features(feature=features))
  serialized = example.SerializeToString()
  return preprocess.decode_example(serialized, with_label=False)[0].numpy()


def draw(height, width):
  """A picture without symmetry, and the mask of its red patch."""
  image = np.zeros((height, width, 3), np.uint8)
  image[..., 1:] = np.moveaxis(np.indices((height, width)), 0, -1) * 2
  image[height // 8 : height // 2, width // 8 : width // 3, 0] = 250
  return image, (image[..., 0] > 128).astype(np.uint8)


def agreement(checked):
  """Share of pixels whose stored label is what the stored image shows."""
  image = decode(checked)
  label = np.asarray(Image.open(io.BytesIO(checked.label)))
  assert image.shape[:2] == label.shape
  return np.mean((image[..., 0] > 128) == label)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("size", [(48, 64), (64, 64)], ids=["wide", "square"])
@pytest.mark.parametrize("drawn_on", ["stored", "upright"])
def test_masks_lie_on_their_images(orientation, kind, size, drawn_on):
  upright, mask = draw(*size)
  stored = picture_files.store(upright, orientation)
  options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
  image = encode(stored, kind, orientation, **options)
  if drawn_on == "stored":
    mask = picture_files.store(mask, orientation)
  checked = check(image, encode(mask), decide_orientation=lambda: drawn_on)
  assert agreement(checked) > 0.99
  plain = check(encode(upright))
  atol = 16 if kind == "JPEG" else 0
  np.testing.assert_allclose(decode(checked), decode(plain), atol=atol)
  is_turned = "image: turned upright" in checked.conversions
  assert is_turned == (orientation > 1)
  is_turned = "mask: turned upright" in checked.conversions
  assert is_turned == (orientation > 1 and drawn_on == "stored")


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("size", [(48, 64), (64, 64)], ids=["wide", "square"])
def test_a_mask_with_a_tag_of_its_own_is_turned_by_it(orientation, size):
  upright, mask = draw(*size)
  stored = picture_files.store(upright, orientation)
  stored_mask = encode(
    picture_files.store(mask, orientation), "PNG", orientation
  )
  for image in encode(stored, "PNG", orientation), encode(upright):
    checked = check(image, stored_mask)
    assert agreement(checked) == 1
    assert "mask: turned upright" in checked.conversions


@pytest.mark.parametrize("orientation", range(2, 9))
def test_where_sizes_cannot_tell_the_option_is_named(orientation):
  upright, mask = draw(64, 64)
  image = encode(picture_files.store(upright, orientation), "PNG", orientation)
  with pytest.raises(examples.ProblemError) as error:
    check(image, encode(mask))
  message = str(error.value)
  assert message.startswith("a mask.png: ") and "an image.jpg" in message
  assert "--mask_orientation=stored" in message and "\n" not in message
  # Turning changes nothing where all pixels are alike.
  assert check(image, encode(np.ones_like(mask))).has_label


def test_broken_tags_do_not_matter():
  image = encode(IMAGE, "JPEG", exif=b"Exif\0\0no tags at all")
  assert check(image, encode(MASK)).conversions == ()


@pytest.mark.parametrize(
  "content, words",
  [
    (encode(IMAGE, "BMP"), "from BMP"),
    (encode(Image.fromarray(IMAGE).convert("RGBA")), "opaque alpha left out"),
    (encode(IMAGE, "TIFF", compression="tiff_lzw"), "from TIFF"),
  ],
  ids=["bmp", "alpha", "tiff"],
)
def test_other_files_are_stored_as_the_pixels_they_show(content, words):
  checked = check(content, encode(MASK))
  assert checked.conversions == (f"image: {words}",)
  assert Image.open(io.BytesIO(checked.image)).format == "PNG"
  np.testing.assert_array_equal(decode(checked), IMAGE)


def test_a_range_of_values_is_handed_on():
  deep = IMAGE[..., 0].astype(np.uint16) * 16 + 100
  checked = check(encode(deep), encode(MASK), value_range=(100, 100 + 16 * 255))
  np.testing.assert_array_equal(decode(checked)[..., 1], IMAGE[..., 0])
  assert checked.conversions == ("image: 16 bits scaled",)


def test_a_mask_without_a_labeled_pixel_is_none():
  checked = check(encode(IMAGE), encode(np.full_like(MASK, 255)))
  assert not checked.has_label and not checked.pixel_counts.any()
  assert checked.conversions == (examples.NO_LABELS,)


def test_gray_image_is_read_as_three_equal_channels():
  checked = check(encode(IMAGE[..., 0]), encode(MASK))
  expected = IMAGE[..., :1].repeat(3, -1)
  np.testing.assert_array_equal(decode(checked), expected)


@pytest.mark.parametrize(
  "image, message",
  [
    (b"", "the file is empty"),
    (b"no image at all", "not an image"),
    (encode(IMAGE, "JPEG")[:-200], "cannot be decoded"),
    (encode(IMAGE)[:-100], "cannot be decoded"),
    (encode(IMAGE[..., 0].astype(np.uint16)), "--value_range=LOW,HIGH"),
    (picture_files.tiff(np.zeros((12, 16, 4), np.uint8), 2), "has 4 bands"),
  ],
  ids="empty text truncated-jpeg truncated-png 16-bit infrared".split(),
)
def test_faulty_image_is_named(image, message):
  with pytest.raises(examples.ProblemError) as error:
    check(image, encode(MASK))
  assert str(error.value).startswith("an image.jpg: ")
  assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
  "mask, message",
  [
    (b"", "the file is empty"),
    (encode(MASK)[:-50], "cannot be decoded"),
    (encode(MASK, "JPEG"), "is JPEG, must be PNG"),
    (encode(IMAGE), "pixels of mode RGB, must be L or P"),
    (encode(MASK.T), "12x16 pixels, but its image an image.jpg has 16x12"),
    (
      encode(np.where(MASK == 2, np.uint8(3), MASK)),
      f"label value 3 ({(MASK == 2).sum()} pixels); must be below 3",
    ),
    (encode(np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)), "184 more"),
    # Two bits: 1 would be read as 85.
    (
      picture_files.png(MASK[..., None] % 3, 2, 0),
      "2 bits a channel, must be 8",
    ),
    (encode(MASK.astype(np.uint16)), "pixels of mode I;16, must be L or P"),
    (encode(MASK == 1), "pixels of mode 1, must be L or P"),
  ],
  ids="empty truncated jpeg rgb other-size value values 2-bit 16-bit "
  "1-bit".split(),
)
def test_faulty_mask_is_named(mask, message):
  with pytest.raises(examples.ProblemError) as error:
    check(encode(IMAGE), mask)
  assert str(error.value).startswith("a mask.png: ")
  assert message in str(error.value) and "\n" not in str(error.value)


def test_unreadable_file_is_named(tmp_path):
  path = tmp_path / "none.jpg"
  raw = examples.RawExample("id", examples.File("x", path.read_bytes), None)
  with pytest.raises(examples.ProblemError, match=r"^x: .*\(No such file"):
    examples.check_example(raw, num_classes=3)
