"""What the results in a folder are of, so that a later command goes on.

OUT/predict.json is written before the first result. It names the network by a
digest of its weights, and all settings that results depend on.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from u2pl_jax.predict import batch_plan, photographs, results, trained
from u2pl_jax.runtime import workdir

NAME = "predict.json"
REMEDY = "pass --overwrite to replace them, or another --out"

_VERSION = 1
# How messages name the entries of a record.
_FLAGS = ("images", "protocol", "scales", "flip", "maps", "value_range")


def describe(
  network: trained.Trained,
  images: Sequence[photographs.Photograph],
  settings: batch_plan.Settings,
) -> dict[str, Any]:
  """What results are of, as JSON values.

  Which images there are does not matter, only the folder that their names are
  within.
  """
  protocol = settings.protocol
  slides = protocol.kind == "slide"
  about = {
    "version": _VERSION,
    "network": network.origin,
    "digest": _digest(network),
    "palette": network.palette,
    "images": find_root(images[0]),
    "protocol": protocol.kind,
    "window": protocol.window if slides else None,
    "stride_rate": protocol.stride_rate if slides else None,
    "scales": protocol.scales,
    "flip": protocol.flip,
    "maps": sorted(settings.maps),
    "value_range": settings.value_range,
    "rule": settings.rule and dataclasses.asdict(settings.rule),
  }
  return json.loads(json.dumps(about))


def _digest(network: trained.Trained) -> str:
  """SHA-256 of the options and weights."""
  digest = hashlib.sha256(json.dumps(network.options, sort_keys=True).encode())
  leaves = traverse_util.flatten_dict(network.variables, sep="/")
  for name, leaf in sorted(leaves.items()):
    array = np.ascontiguousarray(leaf)
    digest.update(f"{name} {array.dtype} {array.shape} ".encode())
    digest.update(array)
  return digest.hexdigest()


def find_root(image: photographs.Photograph) -> str:
  """The folder within which the image has its name."""
  depth = len(pathlib.Path(image.name).parts)
  return os.path.realpath(image.path.parents[depth - 1])


def check(out: pathlib.Path, about: Mapping[str, Any]) -> bool:
  """Whether results of `about` are there; False if there are none at all.

  Raises:
    ValueError: there are results of something else; one line that names it.
    FileExistsError: there are results, but nothing tells of what; one line.
  """
  folder = _find_results(out)
  if folder is None:
    return False
  path = out / NAME
  if not path.exists():
    raise FileExistsError(
      f"{folder}: there are files already, and no {NAME} tells of what;"
      f" {REMEDY}"
    )
  found = workdir.read_json(path, REMEDY)
  if not isinstance(found, dict) or found.get("version") != _VERSION:
    raise ValueError(f"{path} is of another version; {REMEDY}")
  difference = _difference(found, about)
  if difference:
    raise ValueError(f"{path}: the results there are {difference}; {REMEDY}")
  return True


def _find_results(out: pathlib.Path) -> pathlib.Path | None:
  """A folder of results that is not empty."""
  for kind in (*results.KINDS, *results.MAPS):
    folder = out / kind
    if folder.exists() and any(folder.iterdir()):
      return folder
  return None


def _difference(
  found: Mapping[str, Any], about: Mapping[str, Any]
) -> str | None:
  """ "of A, not B": the first entry that differs."""
  if found.get("digest") != about["digest"]:
    before, now = found.get("network"), about["network"]
    if before == now:
      return f"of {now} as it was before it changed"
    return f"of the network {before}, not {now}"
  for key in _FLAGS:
    if found.get(key) != about[key]:
      before, now = (
        _format_flag(key, each.get(key)) for each in (found, about)
      )
      return f"of {before}, not {now}"
  for key in ("palette", "window", "stride_rate", "rule"):
    if found.get(key) != about[key]:
      return f"of another {key}"
  return None


def _format_flag(key: str, value: Any) -> str:
  """As on the command line."""
  if isinstance(value, bool) or value in (None, []):
    return f"{'' if value else 'no '}--{key}"
  if isinstance(value, list):
    value = ",".join(
      f"{v:g}" if isinstance(v, float) else str(v) for v in value
    )
  return f"--{key}={value}"


def begin(out: pathlib.Path, about: Mapping[str, Any]) -> None:
  """Writes the record; results that are older do not count as done any more.

  Raises:
    OSError: it cannot be written; the message names it.
  """
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise OSError(f"{out} cannot be written: {error}") from error
  workdir.write_json(out / NAME, about)


def find_done(
  out: pathlib.Path,
  images: Iterable[photographs.Photograph],
  maps: Sequence[str],
) -> set[photographs.Photograph]:
  """Images whose results are all there, see `find_current`."""
  return find_current(
    out, images, lambda image: results.find(out, image.name, maps)
  )


def find_current(
  out: pathlib.Path,
  images: Iterable[photographs.Photograph],
  find_files: Callable[[photographs.Photograph], list[pathlib.Path] | None],
) -> set[photographs.Photograph]:
  """Images whose files are there and belong to the record.

  Files count if they are newer than the record and than their image, which may
  have been replaced by a file that was changed earlier: a link, or a copy that
  keeps its time.

  Args:
    out: the folder of the results.
    images: those to look for.
    find_files: the files that were made of an image; None if one is missing.
  """
  begun = os.stat(out / NAME).st_mtime_ns
  return {
    image for image in images if _is_current(image, find_files(image), begun)
  }


def _is_current(
  image: photographs.Photograph, files: list[pathlib.Path] | None, begun: int
) -> bool:
  if files is None:
    return False
  try:
    source = image.path.stat(), image.path.lstat()
  except OSError:  # Gone meanwhile; reading it tells.
    return False
  changed = max(max(s.st_mtime_ns, s.st_ctime_ns) for s in source)
  written = min(file.stat().st_mtime_ns for file in files)
  return written >= max(begun, changed)
