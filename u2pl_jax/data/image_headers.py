"""What the headers of image files say that decoders leave out.

Decoders cut samples to 8 bits, take a fourth band for transparency and skip
what follows the pixels, all without a word.
"""

import dataclasses
import re
from typing import BinaryIO

from PIL import ExifTags, TiffImagePlugin

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH, _PNG_COLORS = 24, 25  # Offsets of two bytes.
_PNG_PALETTE = 3
_TIFF = (b"II*\0", b"MM\0*", b"II+\0")
_JPEG2000 = b"\0\0\0\x0cjP  "
_CODESTREAM = b"\xff\x4f\xff\x51"  # Of JPEG 2000.
_HEAD = 1 << 20  # Bytes within which the header of JPEG 2000 lies.

_TAGS = ExifTags.Base
_COLORS = {2: 3, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}  # Bands by photometric.
_LAB = (8, 9, 10)
_RGB = 2
_FLOAT_FORMATS = (3, 5, 6)
_SIGNED = 2
_ALPHA = ((1,), (2,))
_OLD_JPEG = 6


class RefusedError(ValueError):
  """Pixels of a kind that is not read; one line, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Facts:
  """What a file says of its pixels.

  Attributes:
    bits: of a sample; 8 where the format has no more.
    has_small_samples: whether gray values have fewer than 8 bits.
    problem: why the pixels are not read, with the remedy; empty if they are.
    stored_size: (height, width) of a TIFF as it is stored; None of others,
      where decoders tell it.
    tiff_orientation: the tag that decoders of TIFF apply by themselves.
    bands: of a TIFF; 0 of others.
    is_white_zero: whether the least value is white.
    is_unsigned: whether samples are without sign.
    is_premultiplied: whether colors were multiplied by their opacity.
    late_exif: a PNG's EXIF that follows its pixels, where decoders miss it.
  """

  bits: int = 8
  has_small_samples: bool = False
  problem: str = ""
  stored_size: tuple[int, int] | None = None
  tiff_orientation: int = 1
  bands: int = 0
  is_white_zero: bool = False
  is_unsigned: bool = True
  is_premultiplied: bool = False
  late_exif: bytes = b""


def read(file: BinaryIO) -> Facts:
  """Reads the header; a file that is no image, or broken, has no facts.

  Args:
    file: open for reading; is left at its start.

  Raises:
    OSError: reading fails.
  """
  head = file.read(32)
  try:
    if head.startswith(_PNG) and len(head) > _PNG_COLORS:
      return _read_png(file, head)
    if head.startswith(_TIFF):
      return _read_tiff(file)
    if head.startswith((_JPEG2000, _CODESTREAM)):
      return _read_jpeg2000(file)
    if re.match(rb"P[2356]\s", head):
      return _read_pnm(file)
    return Facts()
  finally:
    file.seek(0)


def _read_png(file: BinaryIO, head: bytes) -> Facts:
  bits = head[_PNG_DEPTH]
  return Facts(
    bits=max(bits, 8),
    has_small_samples=bits < 8 and head[_PNG_COLORS] != _PNG_PALETTE,
    late_exif=_find_late_exif(file),
  )


def _find_late_exif(file: BinaryIO) -> bytes:
  file.seek(len(_PNG))
  seen_pixels = False
  while len(start := file.read(8)) == 8:
    length, kind = int.from_bytes(start[:4]), start[4:]
    if kind == b"eXIf" and seen_pixels:
      return file.read(length)
    seen_pixels |= kind == b"IDAT"
    file.seek(length + 4, 1)
  return b""


def _read_jpeg2000(file: BinaryIO) -> Facts:
  file.seek(0)
  head = file.read(_HEAD)
  start = head.find(_CODESTREAM)
  if start < 0:
    return Facts()
  bands = int.from_bytes(head[start + 40 : start + 42])
  depths = head[start + 42 : start + 42 + 3 * bands : 3]
  problem = ""
  if bands not in (1, 3) and not _names_all_channels(head[:start], bands):
    problem = _describe_bands(bands, 3 if bands > 3 else 1)
  bits = max(((depth & 127) + 1 for depth in depths), default=8)
  return Facts(bits=max(bits, 8), problem=problem)


def _names_all_channels(boxes: bytes, bands: int) -> bool:
  """Whether four bands are CMYK, or the last of two or four is opacity."""
  if bands == 4 and re.search(rb"colr\x01..\0\0\0\x0c", boxes, re.DOTALL):
    return True
  start = boxes.find(b"cdef") + 6
  channels = [boxes[i : i + 6] for i in range(start, start + 6 * bands, 6)]
  kinds = [int.from_bytes(channel[2:4]) for channel in channels]
  is_named = start > 6 and bands in (2, 4)
  return is_named and sorted(kinds)[:-1] == [0] * (bands - 1) and max(kinds) < 3


def _read_pnm(file: BinaryIO) -> Facts:
  file.seek(0)
  text = re.sub(rb"#[^\n]*\n", b"\n", file.read(1 << 12))
  match = re.match(rb"P[2356]\s+\d+\s+\d+\s+(\d+)\s", text)
  greatest = int(match[1]) if match else 255
  return Facts(bits=16 if greatest > 255 else 8)


def _read_tiff(file: BinaryIO) -> Facts:
  try:
    file.seek(0)
    header = file.read(8)
    if header[2] == 43:
      header += file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    return _tell_of_tiff(tags)
  except Exception:  # The decoder finds the words.
    return Facts()


def _tell_of_tiff(tags: TiffImagePlugin.ImageFileDirectory_v2) -> Facts:
  photometric = tags.get(_TAGS.PhotometricInterpretation, 0)
  bits = max(tags.get(_TAGS.BitsPerSample, (1,)))
  colors = _COLORS.get(photometric, 1)
  is_old_jpeg = tags.get(_TAGS.Compression, 1) == _OLD_JPEG
  bands = tags.get(_TAGS.SamplesPerPixel, colors if is_old_jpeg else 1)
  formats = tags.get(_TAGS.SampleFormat, (1,))
  extra = tuple(tags.get(_TAGS.ExtraSamples, ()))
  return Facts(
    bits=max(bits, 8),
    has_small_samples=bits < 8 and photometric < 2,
    problem=_find_tiff_problem(tags, photometric, bits, bands, formats, extra),
    stored_size=(tags[_TAGS.ImageLength], tags[_TAGS.ImageWidth]),
    tiff_orientation=tags.get(_TAGS.Orientation, 1),
    bands=bands,
    is_white_zero=photometric == 0,
    is_unsigned=_SIGNED not in formats,
    is_premultiplied=extra == (1,),
  )


def _find_tiff_problem(
  tags: TiffImagePlugin.ImageFileDirectory_v2,
  photometric: int,
  bits: int,
  bands: int,
  formats: tuple[int, ...],
  extra: tuple[int, ...],
) -> str:
  colors = _COLORS.get(photometric, 1)
  if any(kind in _FLOAT_FORMATS for kind in formats):
    return "pixels are floating-point numbers; save it with 8 or 16 bits"
  if _SIGNED in formats and bits <= 8:
    return "pixels are numbers with a sign; save it with 8 bits without"
  if bands > colors and not (bands == colors + 1 and extra in _ALPHA):
    return _describe_bands(bands, colors)
  if photometric in _LAB:
    return "colors are CIELAB; save it as RGB"
  if bits > 8 and bands > 1:
    if photometric != _RGB:
      return f"{bits} bits a channel, but not RGB or gray; save it as RGB"
    if bits > 16:
      return f"{bits} bits a channel; save it with 8 or 16"
    if tags.get(_TAGS.PlanarConfiguration, 1) != 1:
      return (
        f"{bits} bits a channel, and channels stored one after the other; "
        "save it with interleaved channels (PlanarConfiguration 1)"
      )
  if tags.get(_TAGS.NewSubfileType, 0) & 1:
    return "its first page is a thumbnail; save the picture alone"
  return ""


def _describe_bands(bands: int, colors: int) -> str:
  known = {1: "gray alone", 3: "red, green and blue alone", 4: "CMYK alone"}
  return (
    f"has {bands} bands, and the file calls {known[colors]} by a name, the "
    "others neither color nor transparency; save three bands as RGB, or one as "
    "gray"
  )
