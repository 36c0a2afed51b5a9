"""Worst, median and best validation images of several runs side by side."""

from collections.abc import Sequence

import numpy as np
from etils import epath

from u2pl_jax.evaluation import metrics, visualize
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.report import (
  examples,
  files,
  gallery,
  page,
  pictures,
  runs,
  sheet,
)

KINDS = ("worst", "median", "best")
# By which score of an image they are chosen: the mean of all runs', or that of
# the first one.
ORDERS = ("mean", "first")


def write_comparison(
  folders: Sequence[epath.PathLike],
  *,
  checkpoint: str,
  state: str | None,
  out: epath.PathLike,
  protocol: str,
  data_dir: str | None,
  count: int,
  order: str,
) -> None:
  """Writes the page.

  Args:
    folders: the runs, in the order of their columns.
    checkpoint, state, protocol, data_dir: see `write.write_report`.
    out: the HTML file.
    count: images of each of `KINDS`, at most.
    order: one of `ORDERS`.

  Raises:
    OSError, ValueError: one line that names the flag or file at fault.
  """
  if count < 1:
    raise ValueError(f"--count={count}: must be >= 1")
  files.check_folders(out)
  compared = _load(folders, checkpoint, state)
  config, network = compared[0].config, compared[0].network
  arguments = (
    [run.network for run in compared],
    runs.open_dataset(config, network, data_dir),
    protocol_lib.Protocol(protocol, network.window),
  )
  batch_size = config["eval"]["batch_size"]
  scored = examples.score(*arguments, batch_size=batch_size)
  chosen = choose_records(scored.mious, count, order)
  records = np.concatenate(chosen)
  found = examples.show(*arguments, records.tolist(), batch_size=batch_size)
  groups = [[found[record] for record in group.tolist()] for group in chosen]
  files.write(out, render(compared, scored, groups, order))


def _load(
  folders: Sequence[epath.PathLike], checkpoint: str, state: str | None
) -> tuple[runs.Run, ...]:
  """The runs, which have ended and are on the same data."""
  flag = "--workdirs"
  for index, folder in enumerate(folders):
    if folder in folders[:index]:
      raise ValueError(f"{flag} names {folder} twice")
  loaded = [runs.load_run(folder, checkpoint, state) for folder in folders]
  for run in loaded:
    if run.result is None:
      raise FileNotFoundError(
        f"{flag}={run.workdir}: there is no result.json, as this run has not"
        " ended; the command that began it goes on with it"
      )
  return runs.tell_apart(*loaded, flag=flag)


def choose_records(
  mious: np.ndarray, count: int, order: str
) -> tuple[np.ndarray, ...]:
  """The images of each of `KINDS`, each from worse to better.

  Args:
    mious: float64 [N, R], of each image and run; NaN for no score.
    count: images of each kind; fewer where there are not three times as many.
    order: one of `ORDERS`.

  Returns:
    int64 [n] of each kind; no image is of two.

  Raises:
    ValueError: there are not three images with a score; one line.
  """
  scores = mious[:, 0] if order == "first" else mious.mean(axis=1)
  ranked = np.argsort(scores, kind="stable")  # NaN comes last.
  ranked = ranked[: np.count_nonzero(~np.isnan(scores))]
  count = min(count, len(ranked) // len(KINDS))
  if not count:
    raise ValueError(
      f"{len(ranked)} validation images have labels, but the worst, the median"
      " and the best one are to be shown"
    )
  middle = (len(ranked) - count) // 2
  return ranked[:count], ranked[middle : middle + count], ranked[-count:]


def render(
  compared: Sequence[runs.Run],
  scored: examples.Scored,
  groups: Sequence[Sequence[examples.Example]],
  order: str,
) -> str:
  """The HTML of the page, which needs nothing beside itself.

  Args:
    compared: the runs.
    scored: their scores.
    groups: the images of each of `KINDS`.
    order: one of `ORDERS`.
  """
  network = compared[0].network
  rows = [
    [gallery.make_row(e.name, _draw(e, compared)) for e in group]
    for group in groups
  ]
  template = page.make_environment().get_template("comparison.html.jinja2")
  return template.render(
    names=[run.name for run in compared],
    runs=[
      {
        "name": run.name,
        "summary": page.summarize(run.config),
        "origin": run.network.origin,
        "miou": metrics.compute_scores(confusion).miou,
      }
      for run, confusion in zip(compared, scored.confusions, strict=True)
    ],
    protocol=scored.protocol,
    num_images=len(scored.mious),
    by="the mean score of all runs"
    if order == "mean"
    else f"the score of {compared[0].name}",
    groups=list(zip(KINDS, rows, strict=True)),
    classes=sheet.list_classes(
      network.class_names, network.palette, "not labeled"
    ),
  )


def _draw(
  example: examples.Example, compared: Sequence[runs.Run]
) -> list[pictures.Picture]:
  """Image, label, and the prediction of each run."""
  palette = compared[0].network.palette
  drawn = list(pictures.of_image(example, palette))
  for run, view in zip(compared, example.views, strict=True):
    drawn.append(
      pictures.Picture(
        f"{run.name}: {view.scores.miou:.1f} %",
        visualize.colorize(view.prediction, palette),
        True,
      )
    )
  return drawn
