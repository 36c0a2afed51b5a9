"""What names of masks have and their images' lack: NAME.jpg, NAME_mask.png."""

import collections
import dataclasses
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

_MAX_SAMPLES = 20
_SEPARATORS = "_-. "

Name = tuple[str, str]  # Folder and stem.


@dataclasses.dataclass(frozen=True)
class Affixes:
  """What stands around the name that an image and its mask share."""

  image_prefix: str = ""
  image_suffix: str = ""
  mask_prefix: str = ""
  mask_suffix: str = ""

  def image_of(self, mask: Name) -> Name | None:
    """The name of the image of a mask; None if a mask's name is different."""
    folder, stem = mask
    long_enough = len(stem) > len(self.mask_prefix) + len(self.mask_suffix)
    if (
      not long_enough
      or not stem.startswith(self.mask_prefix)
      or not stem.endswith(self.mask_suffix)
    ):
      return None
    name = stem.removeprefix(self.mask_prefix)
    name = name[: len(name) - len(self.mask_suffix)]
    return folder, f"{self.image_prefix}{name}{self.image_suffix}"

  def describe(self) -> str:
    """Says it by example: "NAME.jpg" has no mark, "NAME_mask" has one."""
    image = f"{self.image_prefix}NAME{self.image_suffix}"
    mask = f"{self.mask_prefix}NAME{self.mask_suffix}"
    return f"the mask of {image} is {mask}"


def find(
  images: Collection[Name],
  masks: Sequence[Name],
  image_suffix: str = "",
  mask_suffix: str = "",
) -> Affixes:
  """Finds what makes the most masks match.

  Args:
    images: folder and stem of each image.
    masks: folder and stem of each mask.
    image_suffix: what is known; empty for unknown.
    mask_suffix: likewise.

  Returns:
    Just what is known where as many match without more.

  Raises:
    ValueError: two ways do as well as each other; the message names them.
  """
  plain = Affixes(image_suffix=image_suffix, mask_suffix=mask_suffix)
  images = frozenset(images)
  if mask_suffix:
    masks = [mask for mask in masks if mask[1].endswith(mask_suffix)]
  if image_suffix and mask_suffix:
    return plain
  if all(plain.image_of(mask) in images for mask in masks):
    return plain
  counts = {
    affixes: sum(affixes.image_of(mask) in images for mask in masks)
    for affixes in (plain, *_guess(images, masks))
    if mask_suffix in ("", affixes.mask_suffix)
    and image_suffix in ("", affixes.image_suffix)
  }
  most = max(counts.values())
  best = [affixes for affixes, count in counts.items() if count == most]
  if most == 0 or (len(best) == 1 and best[0] == plain):
    return plain
  if len(best) > 1:
    if plain in best and most < len(masks) / 2:
      return plain
    raise ValueError(_ask(best))
  # A few odd names among others that match as they are make no rule.
  return best[0] if 2 * most >= len(masks) else plain


def _guess(images: frozenset[Name], masks: Sequence[Name]) -> Iterator[Affixes]:
  """Yields what sets some masks off from the images most like them."""
  stems = collections.defaultdict(list)
  for folder, stem in images:
    stems[folder].append(stem)
  seen = set()
  step = max(1, len(masks) // _MAX_SAMPLES)
  for folder, mask in masks[::step]:
    for affixes in _compare(mask, stems.get(folder, ())):
      if affixes not in seen:
        seen.add(affixes)
        yield affixes


def _compare(mask: str, images: Sequence[str]) -> Iterator[Affixes]:
  shared = {i: len(os.path.commonprefix((mask, i))) for i in images}
  longest = max(shared.values(), default=0)
  for image, length in shared.items():
    is_longest = 0 < length == longest
    # NAME_a and NAME_b share the name and what sets the ends off.
    while 1 < length < len(image) and mask[length - 1] in _SEPARATORS:
      length -= 1
    ends = image[length:], mask[length:]
    if is_longest and all(map(_is_word, ends)) and any(ends):
      yield Affixes(image_suffix=ends[0], mask_suffix=ends[1])
  shared = {i: len(os.path.commonprefix((mask[::-1], i[::-1]))) for i in images}
  longest = max(shared.values(), default=0)
  for image, length in shared.items():
    is_longest = 0 < length == longest
    while 1 < length < len(image) and mask[-length] in _SEPARATORS:
      length -= 1
    starts = image[: len(image) - length], mask[: len(mask) - length]
    if is_longest and all(map(_is_word, starts)) and any(starts):
      yield Affixes(image_prefix=starts[0], mask_prefix=starts[1])


def _is_word(text: str) -> bool:
  """Whether it marks a kind; numbers count images, or objects in one."""
  return not text or bool(re.search(r"[^\W\d_]", text))


def _ask(best: Sequence[Affixes]) -> str:
  ways = " or ".join(f"({affixes.describe()})" for affixes in best[:4])
  suffixes = [a.mask_suffix for a in best if a.mask_suffix]
  option = f"--mask_suffix={'|'.join(dict.fromkeys(suffixes))}"
  if len(set(suffixes)) < 2 and any(a.image_suffix for a in best):
    given = [a.image_suffix for a in best if a.image_suffix]
    option = f"--image_suffix={'|'.join(dict.fromkeys(given))}"
  return f"masks match images in more than one way: {ways}; give {option}"


def count_endings(
  stems: Mapping[str, Collection[str]],
) -> collections.Counter[str]:
  """Counts what names in a folder have and others in it lack.

  Args:
    stems: names without endings, by folder.

  Returns:
    How often each suffix occurs after a name that is there without it.
  """
  counts = collections.Counter()
  for names in stems.values():
    names = frozenset(names)
    for name in names:
      for match in re.finditer(r"(?<=.)[_\-. ]", name):
        suffix = name[match.start() :]
        if name[: match.start()] in names and _is_word(suffix):
          counts[suffix] += 1
  return counts
