"""The checks every image and mask must pass before it is stored."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_prep import examples
from u2pl_jax.data import preprocess

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (12, 16, 3), np.uint8)
MASK = RNG.choice(np.uint8([0, 1, 2, 255]), (12, 16))


def encode(image, kind="PNG", **options):
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def encode_png(color_type, depth):
  """PNG of zeros, 16x12, of a kind that Pillow reads but does not write."""
  channels = {0: 1, 2: 3}[color_type]
  row = b"\0" * (1 + 16 * channels * depth // 8)
  header = struct.pack(">IIBBBBB", 16, 12, depth, color_type, 0, 0, 0)
  chunks = (b"IHDR", header), (b"IDAT", zlib.compress(row * 12)), (b"IEND", b"")
  content = b"\x89PNG\r\n\x1a\n"
  for kind, data in chunks:
    check_sum = struct.pack(">I", zlib.crc32(kind + data))
    content += struct.pack(">I", len(data)) + kind + data + check_sum
  return content


def check(image, mask=None):
  def to_file(name, content):
    return examples.File(name, lambda: content)

  if mask is not None:
    mask = examples.id_mask(to_file("a mask.png", mask))
  raw = examples.RawExample("an id", to_file("an image.jpg", image), mask)
  return examples.check_example(raw, num_classes=3)


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


def rotate_by_tag(pixels):
  """JPEG that a viewer shows upright, turned by a quarter from `pixels`."""
  exif = Image.Exif()
  exif[0x0112] = 6
  return encode(pixels, "JPEG", exif=exif)


def test_orientation_tag_is_ignored_here_and_in_training():
  image = rotate_by_tag(IMAGE)
  checked = check(image, encode(MASK))
  assert checked.is_rotated and checked.image == image
  plain = check(encode(IMAGE, "JPEG"), encode(MASK))
  np.testing.assert_array_equal(decode(checked), decode(plain))
  assert not plain.is_rotated


def test_mask_drawn_on_the_upright_image_is_refused_with_a_hint():
  with pytest.raises(examples.ProblemError, match="has an orientation tag"):
    check(rotate_by_tag(IMAGE), encode(np.rot90(MASK)))


def test_broken_tags_do_not_matter():
  image = encode(IMAGE, "JPEG", exif=b"Exif\0\0no tags at all")
  assert not check(image, encode(MASK)).is_rotated


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
    (encode(IMAGE, "GIF"), "is GIF, must be JPEG or PNG"),
    (
      encode(Image.fromarray(IMAGE).convert("CMYK"), "JPEG"),
      "pixels of mode CMYK, must be RGB or L",
    ),
    (
      encode(Image.fromarray(IMAGE).convert("RGBA")),
      "pixels of mode RGBA, must be RGB or L",
    ),
    (encode(IMAGE[..., 0].astype(np.uint16)), "pixels of mode I;16"),
    (encode_png(2, 16), "16 bits a channel, must be 8"),
  ],
  ids="empty text truncated-jpeg truncated-png gif cmyk rgba 16-bit-gray "
  "16-bit-rgb".split(),
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
    (encode_png(0, 2), "2 bits a channel, must be 8"),
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
