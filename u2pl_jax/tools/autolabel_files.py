"""The files that `autolabel` leaves beside those of `predict`."""

import csv
import functools
import io
import math
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from u2pl_jax.predict import (
  embedding,
  findings,
  photographs,
  ranking,
  record,
  reliability,
  trained,
)
from u2pl_jax.predict.annotation import cvat, label_studio, labels, plain
from u2pl_jax.runtime import progress, workdir

TOOLS = {"masks": None, "cvat": cvat, "labelstudio": label_studio}
FIRST = "first"
_NUM_GREEDY = 2000  # Ranks that each take a look at all images.
_SHOWN = 200  # Images in the page at most.
_COLUMNS = (
  "rank", "image", "mean_entropy", "unreliable_share", "classes", "unlike"
)  # fmt: skip


def rank(
  network: trained.Trained,
  images: Sequence[photographs.Photograph],
  out: pathlib.Path,
  labeled: np.ndarray,
  *,
  kind: str,
  value_range: tuple[int, int] | None,
) -> list[ranking.Ranked]:
  """Puts images whose predictions are there in the order of `ranking`.

  Args:
    network: the trained network.
    images: those to rank.
    out: the folder of the predictions, which their features go to as well.
    labeled: [m, C], features of the labeled images.
    kind: one of `ranking.KINDS`.
    value_range: see `photographs.read`.

  Raises:
    UnreadableError: an image has changed meanwhile.
    OSError: a file cannot be written or read.
  """
  find = functools.partial(embedding.find, out)
  done = record.find_current(out, images, lambda image: find(image.name))
  rest = [image for image in images if image not in done]
  shown = progress.Progress("comparing", len(rest), patience=2.0)
  for failure in embedding.run(network, rest, out, value_range):
    if failure is not None:
      raise failure
    shown.advance()
  names = [image.name for image in images]
  found = list(findings.read(out, names, network.num_classes))
  if not images:
    return []
  order = ranking.rank(
    np.array([each.mean_entropy for each in found])
    / math.log(len(network.palette)),
    embedding.read(out, names),
    labeled,
    kind=kind,
    num_greedy=_NUM_GREEDY,
  )
  return [
    ranking.Ranked(images[i], found[i], float(order.unlike[i]))
    for i in order.order
  ]


def write_ranking(
  out: pathlib.Path,
  ranked: Sequence[ranking.Ranked],
  class_names: Sequence[str],
) -> None:
  """Writes OUT/ranking.csv.

  Raises:
    OSError: it cannot be written.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(_COLUMNS)
  for number, each in enumerate(ranked, 1):
    classes = "; ".join(class_names[i] for i in each.finding.classes)
    figures = each.finding.mean_entropy, each.finding.unreliable, each.unlike
    entropy, unreliable, unlike = (f"{figure:.6g}" for figure in figures)
    writer.writerow([number, each.file, entropy, unreliable, classes, unlike])
  workdir.write_bytes(out / "ranking.csv", text.getvalue().encode())


def write_first(
  out: pathlib.Path,
  first: Sequence[ranking.Ranked],
  ids: Mapping[photographs.Photograph, str],
  of_tool: Sequence[labels.Label],
  tool: str,
) -> None:
  """Writes OUT/first, whole or not at all.

  Args:
    out: the folder of the predictions.
    first: images with their masks.
    ids: what they are to be called.
    of_tool: the labels of all values in the masks.
    tool: one of `TOOLS`.

  Raises:
    OSError: a file cannot be written.
  """
  partial = out / f".{FIRST}"
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir()
  items = [
    labels.Item(
      ids[each.image], each.image.path, out / f"masks/{each.image.name}.png"
    )
    for each in first
  ]
  plain.write(items, of_tool, partial)
  if TOOLS[tool] is not None:
    TOOLS[tool].write(items, of_tool, partial)
  shutil.rmtree(out / FIRST, ignore_errors=True)
  partial.rename(out / FIRST)


def write_page(
  out: pathlib.Path,
  ranked: Sequence[ranking.Ranked],
  first: Sequence[ranking.Ranked],
  network: trained.Trained,
  rule: reliability.Rule,
  value_range: tuple[int, int] | None,
) -> None:
  """Writes OUT/ranking.html.

  Args:
    out: the folder of the predictions.
    ranked: all images.
    first: those to show, as far as the page has room.
    network: what labeled them.
    rule: which pixels are reliable.
    value_range: see `photographs.read`.

  Raises:
    OSError: it cannot be written.
  """
  from u2pl_jax.report import ranking_page

  page = ranking_page.render(
    out, first[:_SHOWN], len(ranked), network, rule, value_range
  )
  workdir.write_bytes(out / "ranking.html", page.encode())
