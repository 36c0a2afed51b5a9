"""The checks every image and mask must pass before it is stored."""

import io

import numpy as np
import pytest
from PIL import Image

from data_prep import examples

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (12, 16, 3), np.uint8)
MASK = RNG.choice(np.uint8([0, 1, 2, 255]), (12, 16))


def encode(image, kind="PNG", **options):
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def check(image, mask=None):
  def to_file(name, content):
    return examples.File(name, lambda: content)

  mask = to_file("a mask.png", mask) if mask is not None else None
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
  ],
  ids="empty text truncated-jpeg truncated-png gif cmyk rgba 16-bit".split(),
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
  ],
  ids="empty truncated jpeg rgb other-size value values".split(),
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
