"""Reads which image a task of Label Studio is of, from its JSON export."""

import dataclasses
import json
import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence

from data_prep.layouts import endings, files

_LABELS = ("brushlabels", "labels")


@dataclasses.dataclass(frozen=True)
class Task:
  """A task of a project.

  Attributes:
    number: its id.
    image: path or address of its image, as it is in the export.
    labels: the labels of regions, by what names of files say of them.
  """

  number: str
  image: str
  labels: Mapping[str, Sequence[str]]


def read(listing: files.Listing) -> dict[str, Task]:
  """Reads all exports in a folder, as JSON or JSON-MIN; by number.

  Raises:
    ValueError: there is none, or two say different things.
  """
  tasks, sources = {}, {}
  for name in listing.names:
    if not name.lower().endswith(".json"):
      continue
    file = listing.root / name
    for task in _read_tasks(file):
      old = tasks.setdefault(task.number, task)
      if old.image != task.image:
        raise ValueError(
          f"{sources[task.number]} and {file} name different images of task "
          f"{task.number}; remove the one that is of another project"
        )
      labels = {**old.labels, **task.labels}
      tasks[task.number] = dataclasses.replace(old, labels=labels)
      sources.setdefault(task.number, file)
  if not tasks:
    raise ValueError(
      f"{listing.root}: no JSON export that says which image a task is of; "
      "export the project as JSON, too, and put the file there"
    )
  return tasks


def _read_tasks(file: pathlib.Path) -> Iterator[Task]:
  """Yields the tasks of a file, none if it is something else."""
  try:
    content = json.loads(file.read_text(encoding="utf-8-sig"))
  except (ValueError, OSError):
    return
  for item in content if isinstance(content, list) else [content]:
    if not isinstance(item, dict) or not isinstance(item.get("id"), int):
      continue
    data = item.get("data") if isinstance(item.get("data"), dict) else item
    image = _find_image(data)
    if image:
      yield Task(str(item["id"]), image, dict(_find_labels(item)))


def _find_image(data: Mapping[str, object]) -> str:
  """The first value that names an image; its key is up to the project."""
  for value in data.values():
    if not isinstance(value, str):
      continue
    parsed = urllib.parse.urlparse(value)
    # Of local storage: /data/local-files/?d=folder/photo.jpg
    local = urllib.parse.parse_qs(parsed.query).get("d", [""])[0]
    for text in (local, urllib.parse.unquote(parsed.path), value):
      if text.lower().endswith(endings.IMAGES):
        return text
  return ""


def _find_labels(
  item: Mapping[str, object],
) -> Iterator[tuple[str, Sequence[str]]]:
  """Yields what a file of a region is called for its labels, and these."""
  pairs = []
  for annotation in item.get("annotations") or item.get("completions") or ():
    for region in annotation.get("result", ()):
      pairs.append((region.get("from_name"), region.get("value", {})))
  for control, regions in item.items():
    if isinstance(regions, list) and control not in ("annotations",):
      pairs += [(control, region) for region in regions]
  for control, region in pairs:
    if not isinstance(region, dict) or not isinstance(control, str):
      continue
    for kind in _LABELS:
      labels = region.get(kind)
      if isinstance(labels, list) and labels:
        name = f"{control}-{'-'.join(map(str, labels))}"
        yield name.replace("/", "-").replace("\\", "-"), list(map(str, labels))
