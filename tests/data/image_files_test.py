"""One rule for pixels: what files of all sorts are read as."""

import concurrent.futures
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFile

from tests import picture_files
from u2pl_jax.data import image_files

# Asymmetric, in colors that JPEG keeps apart: 2 rows, 3 columns of blocks.
BLOCKS = np.array(
  [[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[0] * 3, [250] * 3, [128] * 3]],
  np.uint8,
)
UPRIGHT = BLOCKS.repeat(16, axis=0).repeat(16, axis=1)
RNG = np.random.default_rng(0)
GRAY = np.array([[0, 100, 255], [7, 8, 9]], np.uint8)
ROOT = pathlib.Path(__file__).resolve().parents[2]


def decode_by_tensorflow(content):
  return tf.io.decode_jpeg(
    content, channels=3, dct_method="INTEGER_ACCURATE"
  ).numpy()


def assert_reads(content, pixels, *conversions, **options):
  decoded = image_files.decode(content, **options)
  assert decoded.pixels.dtype == np.uint8
  np.testing.assert_array_equal(decoded.pixels, pixels)
  assert decoded.conversions == conversions


def to_rgb(gray):
  return np.repeat(gray[..., None], 3, axis=-1)


ENDINGS = ["jpg", "png", "webp", "tif", "lzw.tif", "avif", "late.png"]


def save_with_tag(path, orientation):
  stored = picture_files.store(UPRIGHT, orientation)
  if path.name.endswith("late.png"):
    exif = Image.Exif()
    exif[picture_files.ORIENTATION] = orientation
    chunk = b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"), True
    path.write_bytes(picture_files.png(stored, 8, 2, chunk))
  else:
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(path.suffix, path.suffix[1:])
    options = {"quality": 95} if kind != "TIFF" else {}
    if path.name.endswith("lzw.tif"):
      options = {"compression": "tiff_lzw"}
    content = picture_files.encode(stored, kind, orientation, **options)
    path.write_bytes(content)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_respected(orientation, ending, tmp_path):
  path = tmp_path / f"a.{ending}"
  save_with_tag(path, orientation)
  header = image_files.read_header(path)
  decoded = image_files.decode(path)
  assert header.size == UPRIGHT.shape[:2] == decoded.pixels.shape[:2]
  if ending != "avif":  # Turned by its decoder.
    assert header.orientation == decoded.orientation == orientation
    is_turned = "turned upright" in decoded.conversions
    assert is_turned == (orientation > 1)
    stored = picture_files.store(UPRIGHT, orientation).shape[:2]
    assert header.stored_size == stored == decoded.header.stored_size
  # Within the blocks: JPEG smears their edges.
  np.testing.assert_allclose(decoded.pixels[8::16, 8::16], BLOCKS, atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_brings_pixels_upright(orientation):
  stored = picture_files.store(UPRIGHT, orientation)
  turned = image_files.turn(stored, orientation)
  np.testing.assert_array_equal(turned, UPRIGHT)


@pytest.mark.parametrize("tag", [0, 9, 700])
def test_unknown_orientations_do_not_matter(tag):
  content = picture_files.encode(UPRIGHT, orientation=tag)
  assert image_files.read_header(content).orientation == 1
  assert_reads(content, UPRIGHT)


@pytest.mark.parametrize(
  "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\xff"]
)
def test_damaged_exif_does_not_matter(exif):
  assert_reads(picture_files.encode(UPRIGHT, exif=exif), UPRIGHT)


def list_photographs():
  return sorted(ROOT.parent.glob("shared/*/JPEGImages/*.jpg"))[::100]


@pytest.mark.skipif(not list_photographs(), reason="no photographs here")
def test_tensorflow_decodes_the_same_pixels_of_photographs():
  for path in list_photographs():
    content = path.read_bytes()
    assert_reads(content, decode_by_tensorflow(content))


@pytest.mark.parametrize(
  "options",
  [{"subsampling": s, "progressive": p} for s in (0, 1, 2) for p in (0, 1)]
  + [{"keep_rgb": True}, {"optimize": True, "restart_marker_blocks": 3}],
  ids=str,
)
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG"])
def test_tensorflow_decodes_the_same_pixels_of_plain_files(kind, options):
  small = Image.fromarray(RNG.integers(0, 256, (9, 13, 3), np.uint8))
  image = small.resize((131, 97))
  if kind == "MPO":
    options = options | {"append_images": [small], "save_all": True}
    options.pop("keep_rgb", None)  # Pillow has none of that.
  for mode in ("RGB", "L"):
    if mode == "L" and "keep_rgb" in options:
      continue
    content = picture_files.encode(image.convert(mode), kind, **options)
    assert_reads(content, decode_by_tensorflow(content))


def test_gray_palettes_and_few_bits_become_rgb():
  assert_reads(picture_files.encode(GRAY), to_rgb(GRAY))
  palette = Image.fromarray(GRAY % 3)
  palette.putpalette([1, 2, 3, 40, 50, 60, 7, 8, 9])
  table = np.uint8([[1, 2, 3], [40, 50, 60], [7, 8, 9]])
  for kind in ("PNG", "TIFF", "BMP", "GIF"):
    words = ["palette to RGB"]
    words = words if kind == "PNG" else [f"from {kind}", *words]
    content = picture_files.encode(palette, kind)
    assert_reads(content, table[GRAY % 3], *words)
  # All values of so many bits, from black to white in equal steps.
  for depth, step in (1, 255), (2, 85), (4, 17):
    values = np.arange(2**depth, dtype=np.uint8)[None, :, None]
    content = picture_files.png(values, depth, 0)
    expected = to_rgb(values[..., 0] * np.uint8(step))
    assert_reads(content, expected, "fewer than 8 bits scaled")


@pytest.mark.parametrize(
  "kind", ["TIFF", "BMP", "WEBP", "GIF", "AVIF", "JPEG2000", "PPM"]
)
def test_formats_are_read_as_the_same_picture_stored_plainly(kind):
  options = {"lossless": True, "quality": 100, "subsampling": "4:4:4"}
  options |= {"irreversible": False}
  image = Image.fromarray(UPRIGHT)
  decoded = image_files.decode(picture_files.encode(image, kind, **options))
  atol = 2 if kind == "AVIF" else 0  # By its colors, not losses.
  np.testing.assert_allclose(decoded.pixels, UPRIGHT, atol=atol)
  assert decoded.conversions[0] == f"from {kind}"


def test_colors_of_print_and_television_become_rgb():
  cmyk = Image.new("CMYK", (20, 10), (0, 255, 255, 0))
  for kind, words in ("JPEG", []), ("TIFF", ["from TIFF"]):
    decoded = image_files.decode(picture_files.encode(cmyk, kind, quality=95))
    np.testing.assert_allclose(decoded.pixels[0, 0], (255, 0, 0), atol=3)
    assert decoded.conversions == (*words, "CMYK to RGB")
  television = Image.new("RGB", (20, 10), (200, 30, 60)).convert("YCbCr")
  decoded = image_files.decode(
    picture_files.encode(television, "TIFF", compression="tiff_lzw")
  )
  np.testing.assert_allclose(decoded.pixels[0, 0], (200, 30, 60), atol=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composited_over_white(mode, kind):
  picture = Image.new("RGBA", (3, 1), (80, 80, 80, 255))
  picture.putpixel((1, 0), (80, 80, 80, 0))
  expected = [[[80] * 3, [255] * 3, [80] * 3]]
  if mode == "P":
    if kind != "PNG":
      return
    picture = picture.quantize(4)
  else:
    picture.putpixel((2, 0), (80, 80, 80, 51))  # A fifth of it shows.
    expected[0][2] = [220] * 3  # 80 / 5 + 255 * 4 / 5.
  options = {"lossless": True, "exact": True, "irreversible": False}
  content = picture_files.encode(picture.convert(mode), kind, **options)
  decoded = image_files.decode(content)
  np.testing.assert_array_equal(decoded.pixels, expected)
  assert decoded.conversions[-1] == "transparency over white"


def test_premultiplied_colors_are_composited_as_such():
  samples = np.uint8([[[16, 8, 0, 51], [9, 9, 9, 255]]])
  content = picture_files.tiff(samples, 2, extra=[1])
  expected = [[[16 + 204, 8 + 204, 204], [9, 9, 9]]]
  assert_reads(content, expected, "from TIFF", "transparency over white")


def test_an_opaque_alpha_channel_is_left_out():
  opaque = Image.fromarray(UPRIGHT).convert("RGBA")
  content = picture_files.encode(opaque)
  assert_reads(content, UPRIGHT, "opaque alpha left out")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "MPO", "TIFF"])
def test_of_several_pictures_the_first_is_read(kind):
  frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
  content = picture_files.encode(
    frames[0], kind, save_all=True, append_images=frames[1:]
  )
  assert image_files.read_header(content).size == (4, 6)
  decoded = image_files.decode(content)
  np.testing.assert_allclose(decoded.pixels[0, 0], (255, 0, 0), atol=3)
  is_counted = "first of several pictures" in decoded.conversions
  assert is_counted == (kind != "MPO")  # A JPEG like any other.


def make_broken(kind):
  """Bytes that are no whole image."""
  noise = RNG.integers(0, 256, (64, 64, 3), np.uint8)
  jpeg = picture_files.encode(noise, "JPEG")
  png = picture_files.encode(noise)
  return {
    "empty": b"",
    "text": b"not an image\n",
    "half a JPEG": jpeg[: len(jpeg) // 2],
    "half a PNG": png[: len(png) // 2],
    "half a TIFF": picture_files.encode(noise, "TIFF")[:1000],
    "header of a PNG": png[:20],
  }[kind]


KINDS = (
  "empty", "text", "half a JPEG", "half a PNG", "half a TIFF", "header of a PNG"
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_broken_files_are_one_line_that_names_them(kind, tmp_path):
  content = make_broken(kind)
  path = tmp_path / "broken"
  path.write_bytes(content)
  for source, options, name in (
    (path, {}, str(path)),
    (content, {"name": "x of y.zip"}, "x of y.zip"),
  ):
    with pytest.raises(image_files.UnreadableError) as caught:
      image_files.decode(source, **options)
    message = str(caught.value)
    assert message.startswith(f"{name}: ") and "\n" not in message
    if kind.startswith("half"):  # The header tells no more.
      assert image_files.read_header(source).size == (64, 64)
    else:
      with pytest.raises(image_files.UnreadableError, match=name):
        image_files.read_header(source, **options)


def test_missing_files_and_folders_are_one_line(tmp_path):
  for path, message in (
    (tmp_path, "Is a directory"),
    (tmp_path / "x", "No such"),
  ):
    with pytest.raises(image_files.UnreadableError, match=f"{path}: {message}"):
      image_files.decode(path)


def test_sizes_of_huge_images_are_read_off_the_header(monkeypatch):
  size = 200001, 200000
  content = picture_files.png(np.zeros((1, 1, 3), np.uint8), 8, 2, size=size)

  def load(self):
    raise AssertionError("pixels were decoded")

  monkeypatch.setattr(ImageFile.ImageFile, "load", load)
  assert image_files.read_header(content).size == size


def test_no_limit_is_met_in_any_thread_and_others_keep_theirs(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
  filters = list(warnings.filters)
  path = tmp_path / "large.png"
  path.write_bytes(picture_files.encode(UPRIGHT))
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for header in pool.map(image_files.read_header, [path] * 64):
      assert header.size == UPRIGHT.shape[:2]
    for decoded in pool.map(image_files.decode, [path] * 64):
      np.testing.assert_array_equal(decoded.pixels, UPRIGHT)
  assert Image.MAX_IMAGE_PIXELS == 10
  assert warnings.filters == filters


SPEAKS = """
import pathlib, sys
from PIL import Image
from u2pl_jax.data import image_files
Image.MAX_IMAGE_PIXELS = 100
for path in map(pathlib.Path, sys.argv[1:]):
  image_files.decode(path)
"""


def test_decoders_say_nothing_themselves(tmp_path):
  """Pillow warns of damaged EXIF, of a broken index of pictures, of bombs."""
  damaged = picture_files.encode(UPRIGHT, exif=b"Exif\0\0MM\0*\0\0\0\xff")
  mpo = picture_files.encode(
    Image.fromarray(UPRIGHT), "MPO", save_all=True,
    append_images=[Image.fromarray(UPRIGHT)],
  )  # fmt: skip
  start = mpo.index(b"MPF\0")
  files = {
    "damaged.png": damaged,
    "index.jpg": mpo[: start + 8] + b"\xff" * 8 + mpo[start + 16 :],
    "bomb.png": picture_files.encode(UPRIGHT),
  }
  for name, content in files.items():
    (tmp_path / name).write_bytes(content)
  finished = subprocess.run(
    [sys.executable, "-c", SPEAKS, *(tmp_path / name for name in files)],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize(
  "text, expected", [("", None), ("0,4095", (0, 4095)), ("-5,10", (-5, 10))]
)
def test_ranges_are_parsed(text, expected):
  assert image_files.parse_value_range(text) == expected


@pytest.mark.parametrize("text", ["5", "5,5", "9,1", "a,b", "1,2,3", "0.5,1"])
def test_faulty_ranges_are_one_line_that_names_the_flag(text):
  with pytest.raises(ValueError, match=f"^--value_range={text}: must be two"):
    image_files.parse_value_range(text)
