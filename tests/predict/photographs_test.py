"""Finding and reading image files of any sort."""

import concurrent.futures
import io
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from u2pl_jax.data import image_files
from u2pl_jax.predict import photographs

# Asymmetric, in colors that JPEG keeps apart: 2 rows, 3 columns of blocks.
BLOCKS = np.array(
  [[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[0] * 3, [250] * 3, [128] * 3]],
  np.uint8,
)
UPRIGHT = BLOCKS.repeat(16, axis=0).repeat(16, axis=1)
# How each orientation stores the upright image, from the EXIF specification:
# where its row 0 and column 0 are.
STORED = {
  1: UPRIGHT,
  2: UPRIGHT[:, ::-1],
  3: UPRIGHT[::-1, ::-1],
  4: UPRIGHT[::-1],
  5: UPRIGHT.swapaxes(0, 1),
  6: UPRIGHT.swapaxes(0, 1)[::-1],
  7: UPRIGHT.swapaxes(0, 1)[::-1, ::-1],
  8: UPRIGHT.swapaxes(0, 1)[:, ::-1],
}


def save(path, pixels, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  picture = pixels
  if not isinstance(pixels, Image.Image):
    picture = Image.fromarray(np.ascontiguousarray(pixels))
  picture.save(path, **options)
  return path


def touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(found):
  return [image.name for image in found]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_respected(orientation, ending, tmp_path):
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = save(
    tmp_path / f"a.{ending}", STORED[orientation], exif=exif, quality=95
  )
  assert photographs.read_size(path) == UPRIGHT.shape[:2]
  found = photographs.read(path)
  assert found.shape == UPRIGHT.shape
  # Within the blocks: JPEG smears their edges.
  np.testing.assert_allclose(found[8::16, 8::16], BLOCKS, atol=12)


def test_compressed_tiff_is_turned_once(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6
  path = save(tmp_path / "a.tif", STORED[6], exif=exif, compression="tiff_lzw")
  assert photographs.read_size(path) == UPRIGHT.shape[:2]
  np.testing.assert_array_equal(photographs.read(path), UPRIGHT)


@pytest.mark.parametrize(
  "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\xff"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_does_not_matter(exif, tmp_path):
  path = save(tmp_path / "a.png", UPRIGHT, exif=exif)
  assert photographs.read_size(path) == UPRIGHT.shape[:2]
  np.testing.assert_array_equal(photographs.read(path), UPRIGHT)


GREY = np.array([[0, 100, 255], [7, 8, 9]], np.uint8)


def expected_gray(values=GREY):
  return np.repeat(values[..., None], 3, axis=-1)


def test_gray_and_black_and_white_become_rgb(tmp_path):
  gray = save(tmp_path / "l.png", GREY)
  np.testing.assert_array_equal(photographs.read(gray), expected_gray())
  bits = Image.fromarray(GREY).point(lambda v: 255 * (v > 50)).convert("1")
  black_and_white = save(tmp_path / "1.png", bits)
  np.testing.assert_array_equal(
    photographs.read(black_and_white),
    expected_gray(np.where(GREY > 50, 255, 0)),
  )


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bits_need_a_range(ending, tmp_path):
  values = GREY.astype(np.uint16) * 16
  path = save(tmp_path / f"a.{ending}", values)
  assert photographs.read_size(path) == GREY.shape
  with pytest.raises(
    image_files.UnreadableError, match="from 0 to 4080; .*--value_range=LOW,"
  ):
    photographs.read(path)
  found = photographs.read(path, (0, 4080))
  np.testing.assert_array_equal(found, expected_gray())


def test_palettes_and_cmyk_become_rgb(tmp_path):
  picture = Image.fromarray(GREY % 3)
  picture.putpalette([1, 2, 3, 40, 50, 60, 7, 8, 9])
  path = save(tmp_path / "p.png", picture)
  table = np.array([[1, 2, 3], [40, 50, 60], [7, 8, 9]])
  np.testing.assert_array_equal(photographs.read(path), table[GREY % 3])
  cmyk = Image.new("CMYK", (20, 10), (0, 255, 255, 0))
  path = save(tmp_path / "cmyk.jpg", cmyk, quality=95)
  found = photographs.read(path)
  assert found.shape == (10, 20, 3)
  np.testing.assert_allclose(found[0, 0], (255, 0, 0), atol=3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(mode, tmp_path):
  picture = Image.new("RGBA", (2, 1), (80, 80, 80, 255))
  picture.putpixel((1, 0), (80, 80, 80, 0))
  if mode == "P":
    picture = picture.quantize(4)
  path = save(tmp_path / "a.png", picture.convert(mode))
  found = photographs.read(path)
  np.testing.assert_array_equal(found, [[[80] * 3, [255] * 3]])


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "mpo"])
def test_of_an_animation_the_first_frame_is_read(ending, tmp_path):
  frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
  path = save(
    tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:]
  )
  assert photographs.read_size(path) == (4, 6)
  found = photographs.read(path)
  assert found.shape == (4, 6, 3)
  np.testing.assert_allclose(found[0, 0], (255, 0, 0), atol=3)


def broken(kind, tmp_path):
  """A file that is no whole image, of some kind."""
  whole = io.BytesIO()
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  ending = "jpeg" if kind == "half a JPEG" else "png"
  Image.fromarray(noise).save(whole, ending)
  content = {
    "empty": b"",
    "text": b"not an image\n",
    "half a JPEG": whole.getvalue()[: len(whole.getvalue()) // 2],
    "half a PNG": whole.getvalue()[: len(whole.getvalue()) // 2],
    "header of a PNG": whole.getvalue()[:20],
  }[kind]
  path = tmp_path / f"broken.{ending}"
  path.write_bytes(content)
  return path


KINDS = ["empty", "text", "half a JPEG", "half a PNG", "header of a PNG"]


@pytest.mark.parametrize("kind", KINDS)
def test_broken_files_are_one_line_that_names_them(kind, tmp_path):
  path = broken(kind, tmp_path)
  with pytest.raises(image_files.UnreadableError) as caught:
    photographs.read(path)
  message = str(caught.value)
  assert message.startswith(f"{path}: ") and "\n" not in message
  if "half" in kind:  # The header tells no more.
    assert photographs.read_size(path) == (64, 64)
  else:
    with pytest.raises(image_files.UnreadableError, match="broken"):
      photographs.read_size(path)


def test_floats_are_refused(tmp_path):
  path = save(tmp_path / "a.tif", np.ones((2, 2), np.float32))
  with pytest.raises(image_files.UnreadableError, match="floating-point"):
    photographs.read(path)


def test_sizes_of_huge_images_are_read_off_the_header(tmp_path, monkeypatch):
  def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum

  header = struct.pack(">IIBBBBB", 20000, 20001, 8, 2, 0, 0, 0)
  path = tmp_path / "huge.png"
  path.write_bytes(
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
  )

  def load(self):
    raise AssertionError("pixels were decoded")

  monkeypatch.setattr(ImageFile.ImageFile, "load", load)
  assert photographs.read_size(path) == (20001, 20000)


def test_a_folder_is_searched_with_its_subfolders(tmp_path):
  touch(tmp_path, "b.JPG", "a.png", "sub/deep/c.webp", "phone.heic")
  touch(tmp_path, "notes.txt", ".hidden.png", ".cache/d.png", "no_ending")
  found = photographs.find(str(tmp_path))
  assert names(found) == ["a", "b", "phone", "sub/deep/c"]
  assert found[3].path == tmp_path / "sub" / "deep" / "c.webp"


def test_folders_can_be_left_out(tmp_path, monkeypatch):
  touch(tmp_path, "x/a.png", "x/out/masks/b.png", "x/out/c.png")
  monkeypatch.chdir(tmp_path / "x" / "out")
  for without in ("masks", "../out/masks", tmp_path / "x" / "out" / "masks"):
    found = photographs.find("../../x", [pathlib.Path(without)])
    assert names(found) == ["a", "out/c"]


def test_a_file_is_taken_whatever_its_ending(tmp_path):
  touch(tmp_path, "sub/photo", "sub/other.png")
  assert names(photographs.find(str(tmp_path / "sub" / "photo"))) == ["photo"]


def test_patterns_keep_what_follows_their_fixed_part(tmp_path):
  touch(tmp_path, "x/1/a.png", "x/2/b.jpg", "x/2/deep/c.jpg", "x/d.jpg")
  pattern = str(tmp_path / "x" / "*" / "*.jpg")
  assert names(photographs.find(pattern)) == ["2/b"]
  pattern = str(tmp_path / "x" / "**" / "*.jpg")
  assert names(photographs.find(pattern)) == ["2/b", "2/deep/c", "d"]
  (tmp_path / "x" / "folder.jpg").mkdir()
  assert names(photographs.find(str(tmp_path / "x" / "*.jpg"))) == ["d"]


def test_patterns_may_not_lead_out_of_their_folder(tmp_path):
  touch(tmp_path, "x/1/a.png", "b.png")
  with pytest.raises(ValueError, match=r"is not in .*x; use a pattern"):
    photographs.find(str(tmp_path / "x" / "*" / ".." / ".." / "b.png"))


def test_a_name_with_brackets_is_no_pattern(tmp_path):
  touch(tmp_path, "photos [1]/a.png")
  assert names(photographs.find(str(tmp_path / "photos [1]"))) == ["a"]


def test_files_that_differ_in_their_endings_keep_them(tmp_path):
  touch(tmp_path, "a.jpg", "a.png", "b.png", "sub/a.png")
  touch(tmp_path, "c.jpg", "c.jpg.png")
  assert names(photographs.find(str(tmp_path))) == [
    "a.jpg", "a.png", "b", "c", "c.jpg.png", "sub/a"
  ]  # fmt: skip


def test_nothing_found_is_one_line(tmp_path):
  touch(tmp_path, "notes.txt")
  for where, message in (
    (tmp_path, "no file that ends like an image"),
    (tmp_path / "*.png", "no such file"),
    (tmp_path / "absent", "no such file or folder"),
  ):
    with pytest.raises(FileNotFoundError, match=message) as caught:
      photographs.find(str(where))
    assert str(where) in str(caught.value)


def test_home_is_found(tmp_path, monkeypatch):
  touch(tmp_path, "photos/a.png")
  monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
  assert names(photographs.find("~/photos")) == ["a"]


def test_pillow_keeps_its_limit_for_others(tmp_path, monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
  path = tmp_path / "large.png"
  Image.new("RGB", (40, 30)).save(path)
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for size in pool.map(photographs.read_size, [path] * 64):
      assert size == (30, 40)
    for image in pool.map(photographs.read, [path] * 64):
      assert image.shape == (30, 40, 3)
  assert Image.MAX_IMAGE_PIXELS == 10
