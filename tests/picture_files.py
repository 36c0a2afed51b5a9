"""Image files of sorts that Pillow does not write, byte by byte."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def encode(pixels, kind="PNG", orientation=None, **options) -> bytes:
  """A file by Pillow, of an array or image; perhaps with an EXIF tag."""
  if isinstance(pixels, np.ndarray):
    pixels = Image.fromarray(np.ascontiguousarray(pixels))
  if orientation is not None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options["exif"] = exif
  buffer = io.BytesIO()
  pixels.save(buffer, kind, **options)
  return buffer.getvalue()


def store(upright: np.ndarray, orientation: int) -> np.ndarray:
  """How an orientation stores pixels, by where EXIF has their first row and
  column: upright[y, x] is found at the place that the tag says."""
  return {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[:, ::-1],
  }[orientation](upright)


def png(
  samples: np.ndarray, depth: int, color_type: int, *chunks, size=None
) -> bytes:
  """PNG of samples [H, W, C]; of depths below 8, rows of packed bytes.

  Args:
    samples: what to store.
    depth: bits of a sample.
    color_type: as PNG counts them: 0 gray, 2 RGB, 4 gray and alpha, 6 RGBA.
    *chunks: (kind, content, whether it follows the pixels) of other chunks.
    size: (height, width) that the header tells; default: that of the samples.
  """

  def chunk(kind, content):
    check_sum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check_sum

  big_endian = samples.astype(">u2" if depth == 16 else "u1")
  if depth < 8:
    bits = np.unpackbits(big_endian, axis=-1)[..., -depth:]
    bits = bits.reshape(len(samples), -1)
    big_endian = np.packbits(bits, axis=-1)
  rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
  height, width = size or samples.shape[:2]
  header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
  return b"".join(
    [
      b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header),
      *(chunk(kind, content) for kind, content, late in chunks if not late),
      chunk(b"IDAT", zlib.compress(rows)),
      *(chunk(kind, content) for kind, content, late in chunks if late),
      chunk(b"IEND", b""),
    ]
  )


def tiff(
  samples: np.ndarray, photometric: int, byte_order="<", **tags
) -> bytes:
  """TIFF of samples [H, W, C], without compression.

  Args:
    samples: what to store; their dtype gives the bits and the kind.
    photometric: as TIFF counts it: 0 and 1 gray, 2 RGB, 5 CMYK.
    byte_order: "<" or ">".
    **tags: extra (ExtraSamples), orientation, planar (PlanarConfiguration),
      subfile (NewSubfileType): lists of numbers.
  """
  height, width, bands = samples.shape
  data = samples.astype(samples.dtype.newbyteorder(byte_order)).tobytes()
  kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
  numbers = {"subfile": 254, "orientation": 274, "planar": 284, "extra": 338}
  entries = {
    256: [width],
    257: [height],
    258: [8 * samples.dtype.itemsize] * bands,
    259: [1],
    262: [photometric],
    273: [8],
    277: [bands],
    278: [height],
    279: [len(data)],
    339: [kind] * bands,
  } | {numbers[name]: values for name, values in tags.items()}
  data += b"\0" * (len(data) % 2)
  directory = struct.pack(byte_order + "H", len(entries))
  rest, place = b"", 8 + len(data) + 2 + 12 * len(entries) + 4
  for number, values in sorted(entries.items()):
    packed = struct.pack(f"{byte_order}{len(values)}I", *values)
    if len(packed) > 4:
      offset = struct.pack(byte_order + "I", place + len(rest))
      packed, rest = offset, rest + packed
    entry = struct.pack(byte_order + "HHI", number, 4, len(values))
    directory += entry + packed
  start = (b"II" if byte_order == "<" else b"MM") + struct.pack(
    byte_order + "HI", 42, 8 + len(data)
  )
  return start + data + directory + b"\0\0\0\0" + rest
