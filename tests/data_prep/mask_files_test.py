"""Masks in files of all kinds hold what was drawn, or are refused."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from data_prep import examples, mask_files, masks
from tests import drawn_masks

IDS, RGB = drawn_masks.IDS, drawn_masks.RGB
BITS = np.uint8([[0, 255, 255], [255, 0, 0]])
PALETTE = [(9, 9, 9), (200, 0, 0), (0, 200, 0)] + [(70, 0, 7)] * 253
TIFF = {"kind": "TIFF", "compression": "tiff_lzw"}
WEBP = {"kind": "WEBP", "lossless": True}


def three(ids):
  return np.stack([ids] * 3, axis=2)


def with_alpha(image):
  image = image.copy()
  image.putalpha(255)
  return image


KINDS = {
  "gray PNG": (IDS, {}),
  "palette PNG": (drawn_masks.with_palette(IDS, PALETTE), {}),
  "LA PNG": (with_alpha(Image.fromarray(IDS)), {}),
  "RGB PNG": (three(IDS), {}),
  "RGBA PNG": (with_alpha(Image.fromarray(three(IDS))), {}),
  "16-bit PNG": (IDS.astype(np.uint16), {}),
  "gray TIFF": (IDS, TIFF),
  "palette TIFF": (drawn_masks.with_palette(IDS, PALETTE), TIFF),
  "RGB TIFF": (three(IDS), TIFF),
  "16-bit TIFF": (IDS.astype(np.uint16), TIFF),
  "32-bit TIFF": (IDS.astype(np.int32), TIFF),
  "gray BMP": (IDS, {"kind": "BMP"}),
  "palette BMP": (drawn_masks.with_palette(IDS, PALETTE), {"kind": "BMP"}),
  "RGB BMP": (three(IDS), {"kind": "BMP"}),
  "WebP": (three(IDS), WEBP),
  "WebP with alpha": (with_alpha(Image.fromarray(three(IDS))), WEBP),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_read_from_any_file(kind):
  image, options = KINDS[kind]
  file = drawn_masks.file_of(image, **options)
  labels = masks.make_reader(drawn_masks.of_names())(file).read()
  np.testing.assert_array_equal(labels.ids, IDS)
  assert labels.ids.dtype == np.uint8 and not labels.is_upright
  assert masks.read_values(file) == {0, 1, 2, 255}
  done = set()
  done |= {"three equal channels read as ids"} if "RGB" in kind else set()
  done |= {"three equal channels read as ids"} if "WebP" in kind else set()
  done |= {"16 bits to 8"} if "-bit" in kind else set()
  assert set(labels.conversions) == done
  # Only such a file may be stored as it is.
  assert labels.png == (file.read() if kind == "gray PNG" else None)


def test_palette_of_a_gif_keeps_its_indices():
  # As those of Carvana: Pillow sorts the palettes of GIFs that it writes.
  ids = np.uint8([[0, 1, 1], [1, 0, 0]])
  image = drawn_masks.with_palette(ids, [(0, 0, 0), (255, 255, 255)])
  options = {"kind": "GIF", "optimize": False}
  table = drawn_masks.of_names(2)
  assert (drawn_masks.read_ids(image, table, **options) == ids).all()
  binary = drawn_masks.of_names(2, mask_values="binary")
  assert (drawn_masks.read_ids(image, binary, **options) == ids).all()


def test_grays_that_a_gif_has_numbered_are_not_taken_for_ids():
  plain = np.minimum(IDS, 2)
  table = drawn_masks.of_names()
  assert (drawn_masks.read_ids(plain, table, kind="GIF") == plain).all()
  message = "index 3 is shown as gray 255, .* --mask_values=ids .* gray PNG"
  with pytest.raises(examples.ProblemError, match=message):
    drawn_masks.read(IDS, table, kind="GIF")


@pytest.mark.parametrize("options", [{}, TIFF, {"kind": "BMP"}, WEBP])
def test_colors_are_read_from_any_file(options):
  table = drawn_masks.of_colors()
  ids = drawn_masks.read_ids(Image.fromarray(RGB), table, **options)
  np.testing.assert_array_equal(ids, IDS)
  assert masks.read_values(drawn_masks.file_of(RGB, **options)) is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_is_black_and_white(kind):
  image = Image.fromarray(BITS).convert("1")
  table = drawn_masks.of_names(2, mask_values="binary")
  ids = drawn_masks.read_ids(image, table, kind=kind)
  np.testing.assert_array_equal(ids, BITS // 255)
  assert masks.read_values(drawn_masks.file_of(image, kind=kind)) == {0, 255}


def upright_of(stored, orientation):
  """Turns pixels as the EXIF standard puts it: where row 0, column 0 lie."""
  turns = {
    1: stored,
    2: np.fliplr(stored),
    3: np.rot90(stored, 2),
    4: np.flipud(stored),
    5: stored.T,
    6: np.rot90(stored, -1),
    7: np.rot90(stored, 2).T,
    8: np.rot90(stored),
  }
  return turns[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, TIFF, {"kind": "TIFF"}, WEBP])
@pytest.mark.parametrize("is_binary", [False, True])
def test_orientation_tag_of_a_mask_is_applied(orientation, options, is_binary):
  exif = Image.Exif()
  exif[0x0112] = orientation
  stored = (IDS == 1).astype(np.uint8) * 255 if is_binary else IDS
  image = Image.fromarray(three(stored) if options == WEBP else stored)
  table = drawn_masks.of_names()
  if is_binary:
    table = drawn_masks.of_names(2, mask_values="binary")
  labels = drawn_masks.read(image, table, exif=exif, **options)
  expected = stored == 255 if is_binary else stored
  np.testing.assert_array_equal(labels.ids, upright_of(expected, orientation))
  assert labels.is_upright == (orientation != 1)
  is_as_stored = orientation == 1 and not options and not is_binary
  assert (labels.png is not None) == is_as_stored


def test_values_of_16_bits_are_mapped():
  ids = np.uint16([[0, 1000, 65535], [1000, 0, 300]])
  table = drawn_masks.of_names(ids_by_value={0: 255, 300: 1, 1000: 0, 65535: 2})
  for options in ({}, TIFF):
    found = drawn_masks.read_ids(ids, table, **options)
    np.testing.assert_array_equal(found, [[255, 0, 2], [0, 255, 1]])


def tiff_of(ids, order="big", photometric=1):
  """A 16-bit TIFF of Motorola's (big) or Intel's (little) order of bytes."""
  height, width = ids.shape
  start = 10 + 9 * 12 + 4
  tags = [
    (256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1),
    (262, 3, photometric), (273, 4, start), (277, 3, 1), (278, 3, height),
    (279, 4, 2 * ids.size),
  ]  # fmt: skip
  content = b"MM\0*" if order == "big" else b"II*\0"
  content += (8).to_bytes(4, order) + len(tags).to_bytes(2, order)
  for tag, kind, value in tags:
    size = 2 if kind == 3 else 4
    content += tag.to_bytes(2, order) + kind.to_bytes(2, order)
    content += (1).to_bytes(4, order)
    content += value.to_bytes(size, order) + bytes(4 - size)
  content += bytes(4)
  assert len(content) == start
  return content + ids.astype(">u2" if order == "big" else "<u2").tobytes()


@pytest.mark.parametrize("order", ["big", "little"])
def test_order_of_bytes_does_not_matter(order):
  file = examples.File("a.tif", lambda: tiff_of(IDS, order))
  labels = masks.make_reader(drawn_masks.of_names())(file).read()
  np.testing.assert_array_equal(labels.ids, IDS)
  assert labels.ids.dtype == np.uint8


def test_no_size_is_too_large_or_speaks_of_bombs(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
  stored = mask_files.read(drawn_masks.file_of(IDS))
  np.testing.assert_array_equal(stored.values, IDS)


def two_pictures():
  buffer = io.BytesIO()
  image = Image.fromarray(IDS)
  image.save(buffer, "TIFF", save_all=True, append_images=[image])
  return buffer.getvalue()


def few_bits():
  """A gray PNG of 2 bits a pixel, 4 x 1 pixels of the values 0 to 3."""
  png = bytearray(drawn_masks.file_of(np.zeros((1, 4), np.uint8)).read())

  def chunk(kind, data):
    check = zlib.crc32(kind + data).to_bytes(4)
    return len(data).to_bytes(4) + kind + data + check

  header = (4).to_bytes(4) + (1).to_bytes(4) + bytes([2, 0, 0, 0, 0])
  pixels = zlib.compress(bytes([0, 0b00011011]))
  return bytes(png[:8]) + b"".join(
    [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
  )


def content_of(image, **options):
  return drawn_masks.file_of(image, **options).read()


@pytest.mark.parametrize(
  "content, message",
  [
    (lambda: b"", "the file is empty"),
    (lambda: b"no", "cannot be decoded .not an image"),
    (lambda: content_of(IDS)[:60], "cannot be decoded"),
    (lambda: tiff_of(IDS, "little", 0), "stores white as 0 in 16 bits"),
    (two_pictures, "holds 2 pictures; save the mask alone"),
    (few_bits, "fewer than 8 bits a pixel, .* --mask_values=binary"),
    (
      lambda: content_of(Image.fromarray(BITS).convert("1")),
      "has one bit a pixel; --mask_values=binary",
    ),
    (
      lambda: content_of(IDS.astype(np.float32), kind="TIFF"),
      "pixels of mode F",
    ),
    (lambda: content_of(IDS, kind="JPEG2000"), "is JPEG2000, must be PNG"),
    (lambda: content_of(three(IDS), kind="JPEG"), "changes values, as JPEG"),
    (lambda: content_of(three(IDS), kind="WEBP"), "changes values, as JPEG"),
    (
      lambda: content_of(IDS, kind="TIFF", compression="jpeg"),
      "changes values, as JPEG",
    ),
    (
      lambda: content_of(Image.fromarray(RGB).convert("CMYK"), kind="TIFF"),
      "pixels of mode CMYK; save it as",
    ),
  ],
)
def test_other_files_are_refused_in_one_line(content, message):
  file = examples.File("a mask.png", content)
  with pytest.raises(examples.ProblemError, match=f"^a mask.png: .*{message}"):
    masks.make_reader(drawn_masks.of_names())(file).read()


def test_missing_file_is_named(tmp_path):
  path = tmp_path / "none.png"
  file = examples.File(str(path), path.read_bytes)
  with pytest.raises(examples.ProblemError, match="none.png: cannot be read"):
    masks.read_values(file)


def test_strips_cover_all_rows():
  pixels = np.arange(3 << 22, dtype=np.int32).reshape(3, -1)
  parts = mask_files.strips(pixels)
  assert len(parts) == 3
  np.testing.assert_array_equal(np.concatenate(parts), pixels)
  assert mask_files.count_values(np.uint16([[3, 3, 300]]))[[3, 300]].sum() == 3
  values = np.int32([[5, -1, 1 << 30, 5]])
  assert mask_files.find_values(values).tolist() == [-1, 5, 1 << 30]
