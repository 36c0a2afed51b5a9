"""Images of more than 8 bits a channel, against values worked by hand."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from tests import picture_files
from u2pl_jax.data import image_files

# Of 12 bits. In the range (95, 4095), v becomes (v - 95) * 255 / 4000:
VALUES = np.uint16([[0, 95, 4095], [2095, 4000, 103]])
SCALED = np.uint8([[0, 0, 255], [128, 249, 1]])  # 127.5, 248.94, 0.51.
RANGE = (95, 4095)
COLORS = np.stack([VALUES, VALUES[::-1], VALUES[:, ::-1]], axis=-1)
SCALED_COLORS = np.stack([SCALED, SCALED[::-1], SCALED[:, ::-1]], axis=-1)
OPACITY = np.uint16([[65535, 65535, 65535], [65535, 0, 13107]])  # A fifth.


def with_alpha(colors):
  return np.concatenate([colors, OPACITY[..., None]], axis=-1)


def over_white(scaled):
  expected = scaled.astype(np.float64)
  expected[1, 1] = 255
  expected[1, 2] = np.rint(scaled[1, 2] / 5 + 204)
  return expected


def encode_pnm(kind, header, values):
  return kind + b"\n# words\n3 2\n" + header + values.astype(">u2").tobytes()


def encode_jpeg2000(values):
  image = Image.fromarray(values.repeat(16, axis=0).repeat(16, axis=1))
  return picture_files.encode(image, "JPEG2000", irreversible=False)


GRAY_FILES = {
  "png": picture_files.png(VALUES[..., None], 16, 0),
  "tiff": picture_files.tiff(VALUES[..., None], 1),
  "tiff-big": picture_files.tiff(VALUES[..., None], 1, ">"),
  "tiff-lzw": picture_files.encode(VALUES, "TIFF", compression="tiff_lzw"),
  "tiff-signed": picture_files.tiff(VALUES.astype(np.int16)[..., None], 1),
  "tiff-32": picture_files.tiff(VALUES.astype(np.uint32)[..., None], 1),
  "pgm-4095": encode_pnm(b"P5", b"4095\n", VALUES),
  "pgm-65535": encode_pnm(b"P5", b"65535\n", VALUES),
}


@pytest.mark.parametrize("kind", GRAY_FILES)
def test_a_stated_range_becomes_black_to_white(kind):
  decoded = image_files.decode(GRAY_FILES[kind], RANGE)
  expected = np.repeat(SCALED[..., None], 3, axis=-1)
  np.testing.assert_array_equal(decoded.pixels, expected)
  bits = 32 if "32" in kind else 16
  assert decoded.conversions[-1] == f"{bits} bits scaled"


COLOR_FILES = {
  "png": picture_files.png(COLORS, 16, 2),
  "tiff": picture_files.tiff(COLORS, 2),
  "tiff-big": picture_files.tiff(COLORS, 2, ">"),
  "ppm": encode_pnm(b"P6", b"4095\n", COLORS),
}


@pytest.mark.parametrize("kind", COLOR_FILES)
def test_colors_are_scaled_alike(kind):
  decoded = image_files.decode(COLOR_FILES[kind], RANGE)
  np.testing.assert_array_equal(decoded.pixels, SCALED_COLORS)


@pytest.mark.parametrize("kind", [*GRAY_FILES, *COLOR_FILES])
def test_without_a_range_the_values_and_the_option_are_named(kind):
  content = {**GRAY_FILES, **COLOR_FILES}[kind]
  with pytest.raises(
    image_files.UnreadableError,
    match="^x: (16|32) bits a channel, values from 0 to 4095; "
    ".*--value_range=LOW,HIGH$",
  ):
    image_files.decode(content, name="x")


def test_jpeg_2000_of_16_bits_is_scaled():
  decoded = image_files.decode(encode_jpeg2000(VALUES), RANGE)
  np.testing.assert_array_equal(decoded.pixels[8::16, 8::16, 1], SCALED)
  colors = COLORS.repeat(32, axis=0).repeat(32, axis=1)
  _, content = cv2.imencode(".jp2", colors[..., ::-1])
  decoded = image_files.decode(content.tobytes(), RANGE)
  middles = decoded.pixels[16::32, 16::32]
  np.testing.assert_allclose(middles, SCALED_COLORS, atol=2)  # It is lossy.


def test_zero_can_be_white():
  content = picture_files.tiff(VALUES[..., None], 0)
  decoded = image_files.decode(content, RANGE)
  np.testing.assert_array_equal(decoded.pixels[..., 0], 255 - SCALED)


@pytest.mark.parametrize(
  "content, expected",
  [
    (picture_files.png(with_alpha(COLORS), 16, 6), SCALED_COLORS),
    (picture_files.tiff(with_alpha(COLORS), 2, extra=[2]), SCALED_COLORS),
    (
      picture_files.png(with_alpha(VALUES[..., None]), 16, 4),
      np.repeat(SCALED[..., None], 3, axis=-1),
    ),
  ],
  ids=["png-rgba", "tiff-rgba", "png-la"],
)
def test_transparency_is_composited_after_scaling(content, expected):
  decoded = image_files.decode(content, RANGE)
  np.testing.assert_array_equal(decoded.pixels, over_white(expected))
  assert decoded.conversions[-1] == "transparency over white"


def test_premultiplied_colors_are_divided_first():
  opacity = OPACITY[..., None] / 65535
  colors = np.rint(COLORS * opacity).astype(np.uint16)
  content = picture_files.tiff(with_alpha(colors), 2, extra=[1])
  decoded = image_files.decode(content, RANGE)
  np.testing.assert_allclose(decoded.pixels, over_white(SCALED_COLORS), atol=1)


@pytest.mark.parametrize(
  "color_type, samples, scaled",
  [(0, VALUES[..., None], SCALED[..., None]), (2, COLORS, SCALED_COLORS)],
  ids=["gray", "rgb"],
)
def test_a_transparent_value_becomes_white(color_type, samples, scaled):
  first = samples[1, 1]
  chunk = b"tRNS", struct.pack(f">{len(first)}H", *first.tolist()), False
  content = picture_files.png(samples, 16, color_type, chunk)
  expected = np.broadcast_to(scaled, (2, 3, 3)).copy()
  expected[1, 1] = 255
  decoded = image_files.decode(content, RANGE)
  np.testing.assert_array_equal(decoded.pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("samples", [VALUES[..., None], COLORS])
def test_deep_images_are_turned_once(orientation, samples):
  stored = picture_files.store(samples, orientation)
  content = picture_files.tiff(
    stored, 2 if samples.shape[-1] == 3 else 1, orientation=[orientation]
  )
  decoded = image_files.decode(content, RANGE)
  expected = SCALED_COLORS if samples.shape[-1] == 3 else SCALED[..., None]
  np.testing.assert_array_equal(
    decoded.pixels, np.broadcast_to(expected, (2, 3, 3))
  )
  exif = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 274, 3, 1, orientation, 0)
  kind = 2 if samples.shape[-1] == 3 else 0
  content = picture_files.png(stored, 16, kind, (b"eXIf", exif, False))
  again = image_files.decode(content, RANGE)
  assert again.orientation == orientation
  np.testing.assert_array_equal(again.pixels, decoded.pixels)


def test_a_range_leaves_images_of_8_bits_alone():
  values = np.uint8([[0, 100, 255]])
  decoded = image_files.decode(picture_files.encode(values), (0, 100))
  np.testing.assert_array_equal(decoded.pixels[..., 0], values)
  assert decoded.conversions == ()
