"""Whether masks were drawn over pixels as they are stored, or turned upright.

An orientation tag (EXIF) asks to show an image rotated or mirrored. Some tools
heed it and some do not; so a mask may lie on either picture. Sizes tell which,
unless the tag keeps them, as it does those of square images; then the other
masks of the dataset tell, or whoever prepares it.
"""

import functools
from collections.abc import Callable, Iterable

from u2pl_jax.data import image_files

# Pictures that a mask may have been drawn on.
STORED, UPRIGHT = "stored", "upright"
MASK_ORIENTATIONS = (STORED, UPRIGHT)

Size = tuple[int, int]


def find_fitting(header: image_files.Header, mask: Size) -> tuple[str, ...]:
  """Which pictures of an image have the size of its mask.

  Args:
    header: the image's.
    mask: (height, width) of the mask.
  """
  sizes = {STORED: header.stored_size, UPRIGHT: header.size}
  return tuple(name for name, size in sizes.items() if size == mask)


def make_decider(
  pairs: Iterable[tuple[Callable[[], bytes], Callable[[], Size | None]]],
  given: str = "",
) -> Callable[[], str]:
  """Returns a function that says what masks were drawn on where sizes cannot.

  Args:
    pairs: of each image with a mask, functions that return the image's bytes
      and the mask's size, None of a mask that tells nothing. They are called
      when the answer is asked for the first time.
    given: what to return instead; one of `MASK_ORIENTATIONS`.

  Returns:
    A function that returns one of `MASK_ORIENTATIONS`, on which all masks
    agree that lie on one picture alone, or "" where there are none or they
    differ.
  """

  @functools.cache
  def decide() -> str:
    if given:
      return given
    found = set()
    for read_image, read_mask_size in pairs:
      try:
        header = image_files.read_header(read_image())
        if header.size != header.stored_size:
          size = read_mask_size()
          found.update(find_fitting(header, size) if size else ())
      except (OSError, ValueError):  # Named when the example is checked.
        pass
    return found.pop() if len(found) == 1 else ""

  return decide
