"""Pairs images with masks by their folders and names."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from data_prep.layouts import (
  affixes,
  checks,
  endings,
  files,
  places,
  tree,
  words,
)

_MAX_SHOWN = 3


def to_tree(
  title: str,
  images: Sequence[places.Place],
  masks: Sequence[places.Place],
  options: tree.Options,
  class_folders: Sequence[pathlib.Path],
  *,
  rule: affixes.Affixes | None = None,
  reduce_zero_label: bool = False,
  notes: Sequence[str] = (),
) -> tree.Tree:
  """Pairs images with masks; folders named after parts serve as lists.

  Args:
    title: of the layout.
    images: all images.
    masks: all masks; what they end in is checked here.
    options: what the user says.
    class_folders: see `tree.Tree`.
    rule: how names differ; None to find out.
    reduce_zero_label: see `tree.Tree`.
    notes: of the layout.

  Raises:
    ValueError: names match in more than one way.
  """
  notes = list(notes)
  masks = _drop_image_endings(images, masks)
  if rule is None:
    rule = _find_rule(images, masks, options)
    told = affixes.Affixes(
      image_suffix=options.image_suffix, mask_suffix=options.mask_suffix
    )
    if rule != told:
      notes.append(f"by their names, {rule.describe()}")
  by_name = collections.defaultdict(list)
  for place in images:
    by_name[_name(place)].append(place)
  matched, problems, spare = _match(by_name, masks, rule, options)
  if spare:
    notes.append(f"left out: {_shorten(spare)}, which --mask_suffix rules out")
  parts = _to_parts(by_name, matched)
  val, more = _choose_val(parts)
  problems += _find_image_problems(by_name.values(), val or ())
  notes += more
  return tree.Tree(
    title=title,
    train=parts[words.TRAIN],
    val=val,
    class_folders=class_folders,
    reduce_zero_label=reduce_zero_label,
    problems=problems,
    notes=notes,
  )


def _to_parts(
  images: Mapping[affixes.Name, Sequence[places.Place]],
  masks: Mapping[affixes.Name, pathlib.Path],
) -> dict[str, list[tree.Entry]]:
  """Returns the images of each part; those of none are to train on."""
  parts = collections.defaultdict(list)
  for name, found in images.items():
    entry = tree.Entry(found[0].id, found[0].path, masks.get(name))
    parts[found[0].part or words.TRAIN].append(entry)
  return parts


def _find_image_problems(
  images: Iterable[Sequence[places.Place]], val: Sequence[tree.Entry]
) -> list[str]:
  several = [
    f"id {found[0].id!r} has several images: "
    f"{' and '.join(str(p.path) for p in found)}"
    for found in images
    if len(found) > 1
  ]
  bare = [
    f"{entry.image}: an image to validate on that has no mask"
    for entry in val
    if not entry.has_mask
  ]
  return several + bare


def _name(place: places.Place) -> affixes.Name:
  return place.group, files.key(place.stem)


def _drop_image_endings(
  images: Sequence[places.Place], masks: Sequence[places.Place]
) -> list[places.Place]:
  """Has NAME.jpg.png be called NAME where it is the mask of NAME.jpg."""
  full = {(p.group, files.key(p.path.name)) for p in images}
  stems = {_name(p) for p in images}
  renamed = []
  for mask in masks:
    if _name(mask) in full - stems:
      stem = files.split_ending(mask.stem)[0]
      mask = dataclasses.replace(mask, stem=stem)
    renamed.append(mask)
  return renamed


def _find_rule(
  images: Sequence[places.Place],
  masks: Sequence[places.Place],
  options: tree.Options,
) -> affixes.Affixes:
  readable = [m for m in masks if m.ending in endings.MASKS]
  return affixes.find(
    {_name(place) for place in images},
    [_name(place) for place in readable or masks],
    options.image_suffix,
    options.mask_suffix,
  )


def _match(
  images: Mapping[affixes.Name, Sequence[places.Place]],
  masks: Sequence[places.Place],
  rule: affixes.Affixes,
  options: tree.Options,
) -> tuple[dict[affixes.Name, pathlib.Path], list[str], list[places.Place]]:
  """Returns the mask of each image, problems, and masks of no concern."""
  found = collections.defaultdict(list)
  others, problems = [], []
  for mask in masks:
    image = rule.image_of(_name(mask))
    if image in images:
      found[image].append(mask)
    else:
      others.append(mask)
  matched = {}
  for image, of_image in found.items():
    if len(of_image) > 1:
      names = " and ".join(str(mask.path) for mask in of_image)
      problems.append(f"{names}: several masks of one image")
    elif of_image[0].ending not in endings.MASKS:
      problems.append(checks.unread_ending(of_image[0].path))
    matched[image] = of_image[0].path
  spare = []
  is_another = _make_is_another(matched, rule) if options.mask_suffix else None
  for mask in others:
    if is_another and is_another(_name(mask)):
      spare.append(mask)
    elif mask.ending not in endings.IMAGES + endings.MASKS:
      continue  # Matches nothing, and may be anything.
    elif not options.allow_unmatched:
      problems.append(checks.unmatched(mask.path))
  return matched, problems, spare


def _make_is_another(
  matched: Mapping[affixes.Name, pathlib.Path], rule: affixes.Affixes
) -> Callable[[affixes.Name], bool]:
  """Returns whether a file is another one of an image that has its mask.

  Cityscapes has NAME_labelIds, NAME_color and NAME_instanceIds of each image.
  """
  bases = collections.defaultdict(set)
  for folder, stem in matched:
    bases[folder].add(stem.removesuffix(rule.image_suffix))

  def is_another(name: affixes.Name) -> bool:
    folder, stem = name
    known = bases[folder]
    return any(stem[:n] in known for n in range(1, len(stem) + 1))

  return is_another


def _choose_val(
  parts: dict[str, list[tree.Entry]],
) -> tuple[list[tree.Entry] | None, list[str]]:
  """Returns the validation images, if folders say which, and what is left."""
  test = parts.get(words.TEST, [])
  if parts.get(words.VAL):
    val, notes = parts[words.VAL], []
  elif test and all(entry.has_mask for entry in test):
    notes = ["the test images serve for validation: there are no others"]
    return test, notes
  else:
    val, notes = None, []
  if test:
    notes.append(f"left out: {len(test)} test images")
  return val, notes


def _shorten(found: Sequence[places.Place]) -> str:
  names = ", ".join(place.path.name for place in found[:_MAX_SHOWN])
  more = ", ..." if len(found) > _MAX_SHOWN else ""
  return f"{len(found)} files ({names}{more})"
