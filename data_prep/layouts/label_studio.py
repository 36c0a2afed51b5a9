"""Brush labels that Label Studio exports as PNG, a file for each region.

  task-1-annotation-2-by-3-tag-NAME-0.png     0 but where the label is
  EXPORT.json                                 the export as JSON or JSON-MIN,
                                              which names the image of each task
  PHOTO.jpg                                   beside, or where --images says

An image that was uploaded is 0a1b2c3d-PHOTO.jpg there. Images without a layer
serve unlabeled.
"""

import collections
import pathlib
import re
from collections.abc import Mapping, Sequence

from data_prep.layouts import (
  endings,
  files,
  label_studio_export,
  listed,
  tree,
  words,
)

NAME = "label_studio"
TITLE = "Label Studio brush labels"
YIELDS_TO = ()

_LAYER = re.compile(
  r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-[^-]*-"
  r"(?P<label>.+)-\d+\.png",
  re.IGNORECASE,
)
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
_DEFAULT_CONTROL = "tag-"

Layers = Mapping[str, Sequence[tuple[str, pathlib.Path]]]


def fits(listing: files.Listing, options: tree.Options) -> bool:
  del options
  return any(_LAYER.fullmatch(n.rpartition("/")[2]) for n in listing.names)


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  tasks = label_studio_export.read(listing)
  layers, problems = _find_layers(listing, tasks)
  folder = listing.root
  if options.images:
    folder = listed.find_folder(listing, words.IMAGE, options.images, "")
  images = {
    files.key(name): folder / name
    for name in files.list_files(folder)
    if files.split_ending(name)[1] in endings.IMAGES
    and not _LAYER.fullmatch(name.rpartition("/")[2])
  }
  of_image = {}
  for number, found in layers.items():
    image = _find_image(tasks[number].image, images)
    if len(image) != 1:
      problems.append(_explain(tasks[number], image, folder))
    elif image[0] in of_image:
      problems.append(f"{images[image[0]]}: several tasks have this image")
    else:
      of_image[image[0]] = tuple(found)
  entries, twice = {}, []
  for name, path in images.items():
    example_id = files.split_ending(path.relative_to(folder).as_posix())[0]
    if example_id in entries:
      twice.append(
        f"id {example_id!r} has several images: {entries[example_id].image} "
        f"and {path}"
      )
    entries[example_id] = tree.Entry(
      example_id, path, layers=of_image.get(name, ())
    )
  return tree.Tree(
    title=TITLE,
    train=list(entries.values()),
    val=None,
    class_folders=(listing.root,),
    problems=problems + twice,
  )


def find_masks(
  listing: files.Listing,
) -> tuple[list[tree.Entry], list[str]]:
  """The masks of a folder without its images, and problems.

  Raises:
    ValueError: there is no JSON export that names the images.
  """
  tasks = label_studio_export.read(listing)
  layers, problems = _find_layers(listing, tasks)
  entries = []
  for number, found in layers.items():
    folder, _, last = tasks[number].image.rpartition("/")
    name = f"{folder}/{_UPLOADED.sub('', last, count=1)}".lstrip("/")
    name = files.split_ending(name)[0]
    entries.append(tree.Entry(name, found[0][1], layers=tuple(found)))
  return entries, problems


def _find_layers(
  listing: files.Listing, tasks: Mapping[str, label_studio_export.Task]
) -> tuple[Layers, list[str]]:
  """Returns the layers of each task that an export knows, and problems."""
  found = collections.defaultdict(list)
  annotations = collections.defaultdict(set)
  problems = []
  for name in listing.names:
    match = _LAYER.fullmatch(name.rpartition("/")[2])
    if not match:
      continue
    path = listing.root / name
    number = match["task"]
    if number not in tasks:
      problems.append(f"{path}: the JSON export has no task {number}")
      continue
    annotations[number].add(match["annotation"])
    labels = tasks[number].labels.get(match["label"])
    if labels is None:
      text = match["label"]
      known = text.startswith(_DEFAULT_CONTROL)
      labels = [text[len(_DEFAULT_CONTROL) :] if known else text]
      labels = labels if known else [text.partition("-")[2] or text]
    if len(labels) > 1:
      problems.append(
        f"{path}: a region of several labels, {', '.join(labels)}; give each "
        "region one"
      )
    found[number].append((labels[0], path))
  for number, several in annotations.items():
    if len(several) > 1:
      shown = " and ".join(sorted(several, key=int))
      problems.append(
        f"{listing.root}: annotations {shown} of task {number} are two masks "
        f"of one image; remove task-{number}-annotation-* of all but one"
      )
  return found, problems


def _find_image(text: str, images: Mapping[str, pathlib.Path]) -> list[str]:
  """The images that the path or address in a task may mean."""
  parts = [files.key(part) for part in text.split("/") if part]
  if not parts:
    return []
  plain = _UPLOADED.sub("", parts[-1], count=1)
  for last in dict.fromkeys((parts[-1], plain)):
    for start in range(len(parts)):
      name = "/".join([*parts[start:-1], last])
      if name in images:
        return [name]
    same = [name for name in images if name.rpartition("/")[2] == last]
    if same:
      return same
  return []


def _explain(
  task: label_studio_export.Task, found: Sequence[str], folder: pathlib.Path
) -> str:
  image = f"task {task.number} is of the image {task.image!r}"
  if found:
    return f"{folder}: {image}, but there are {' and '.join(found)}"
  return (
    f"{folder}: {image}, which is not there; put it there, or give "
    "--images=FOLDER"
  )
