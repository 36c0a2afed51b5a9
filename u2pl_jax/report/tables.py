"""Figures of one or two runs, as text for the page's tables."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence

import numpy as np

from u2pl_jax.evaluation import metrics
from u2pl_jax.report import charts, runs
from u2pl_jax.report import examples as examples_lib
from u2pl_jax.runtime import progress
from u2pl_jax.runtime import workdir as workdir_lib

NOTHING = "–"
_TAUGHT = "taught/accuracy"


@dataclasses.dataclass(frozen=True)
class Figure:
  """A key figure.

  Attributes:
    title: what it is.
    values: the figure of each run.
    notes: what to know about each value.
    difference: second minus first; "" where that says nothing.
  """

  title: str
  values: tuple[str, ...]
  notes: tuple[str, ...]
  difference: str = ""


@dataclasses.dataclass(frozen=True)
class ClassRow:
  """A class in the table of classes.

  Attributes:
    name: the name of the class.
    color: the color of the class, "#rrggbb".
    share: its share of the labeled pixels; "" if not known.
    iou: its IoU in each run.
    bars: the same in [0, 100], 0 where there is none.
    difference: second minus first.
  """

  name: str
  color: str
  share: str
  iou: tuple[str, ...]
  bars: tuple[float, ...]
  difference: str


@dataclasses.dataclass(frozen=True)
class ClassTable:
  """The table of classes, where its figures come from, and their mean."""

  source: str
  rows: list[ClassRow]
  mean: ClassRow


@dataclasses.dataclass(frozen=True)
class ConfigRow:
  """A key of the config: its value in each run, and whether they differ."""

  key: str
  values: tuple[str, ...]
  differs: bool


def format_percent(value: float | None) -> str:
  """Two decimals; a dash for None and NaN."""
  return NOTHING if _is_missing(value) else f"{value:.2f} %"


def format_difference(values: Sequence[float | None]) -> str:
  """Second minus first, signed; "" unless there are two numbers."""
  if len(values) < 2 or any(map(_is_missing, values)):
    return ""
  return f"{values[1] - values[0]:+.2f}".replace("-", "−")


def _is_missing(value: float | None) -> bool:
  return value is None or math.isnan(value)


def make_figures(
  compared: Sequence[runs.Run], examples: examples_lib.Examples | None
) -> list[Figure]:
  """The key figures: scores, and what training took.

  Args:
    compared: one or two runs.
    examples: what their networks make of the images; None if there are none.
  """
  figures = [
    _logged_miou("mIoU, last", compared, lambda values: -1),
    _logged_miou(
      "mIoU, best", compared, lambda values: np.nan_to_num(values).argmax()
    ),
  ]
  if examples is not None:
    scores = [metrics.compute_scores(each) for each in examples.confusions]
    notes = [f"{examples.protocol}, {examples.num_images:,} images"]
    notes *= len(compared)
    mious = [of_run.miou for of_run in scores]
    accuracies = [of_run.pixel_accuracy for of_run in scores]
    figures += [
      _percents("mIoU, this report", mious, notes),
      _percents("Pixel accuracy, this report", accuracies, notes),
    ]
  if any(_TAUGHT in run.curves for run in compared):
    accuracies, notes = zip(*map(_describe_taught, compared))
    figures.append(_percents("Right pseudo-labels", accuracies, notes))
  trainings = [_describe_training(run) for run in compared]
  return [*figures, Figure("Training", *map(tuple, zip(*trainings)))]


def _percents(
  title: str, values: Sequence[float | None], notes: Sequence[str]
) -> Figure:
  texts = tuple(map(format_percent, values))
  return Figure(title, texts, tuple(notes), format_difference(values))


def _logged_miou(
  title: str,
  compared: Sequence[runs.Run],
  choose: Callable[[np.ndarray], int],
) -> Figure:
  """The mIoU of the evaluation in training that `choose` gives the index of."""
  values, notes = [], []
  for run in compared:
    if run.miou is None:
      values.append(None)
      notes.append("no evaluation was logged")
    else:
      protocol, curve = run.miou
      index = choose(curve.values)
      values.append(float(curve.values[index]))
      notes.append(f"{protocol}, step {curve.steps[index]:,}")
  return _percents(title, values, notes)


def _describe_taught(run: runs.Run) -> tuple[float | None, str]:
  """Accuracy of the pixels taught at the end, in percent, and their share."""
  if _TAUGHT not in run.curves:
    return None, "not compared with masks, see data.unlabeled_masks"
  last = {}
  for tag in (_TAUGHT, "taught/share"):
    values = run.curves[tag].values
    last[tag] = values[-max(len(values) // 10, 1) :]
  accuracy, share = (100 * float(values.mean()) for values in last.values())
  steps = len(last[_TAUGHT])
  return accuracy, f"of {share:.1f} % that are taught; last {steps:,} steps"


def _describe_training(run: runs.Run) -> tuple[str, str]:
  """How long it took, and what it did."""
  if run.result is None:
    return NOTHING, "not at its end: there is no result.json"
  note = f"{run.result['step']:,} steps"
  speed = run.result["images_per_second"]
  if speed is not None:
    note += f", {speed:.0f} images/s"
  return progress.format_seconds(run.result["seconds"]), note


def make_class_table(
  compared: Sequence[runs.Run], examples: examples_lib.Examples | None
) -> ClassTable | None:
  """IoU by class: of the examples, else of each run's `result.json`.

  Args:
    compared: one or two runs.
    examples: what their networks make of the images; None if there are none.

  Returns:
    The table; None without examples and without a result.
  """
  names = compared[0].network.class_names
  shares = [None] * len(names)
  if examples is not None:
    scores = [metrics.compute_scores(each) for each in examples.confusions]
    iou = [of_run.iou for of_run in scores]
    means = [of_run.miou for of_run in scores]
    pixels = examples.confusions[0].sum(1)
    shares = 100 * pixels / max(pixels.sum(), 1)
    source = f"{examples.protocol}, {examples.num_images:,} validation images"
  elif any(run.result is not None for run in compared):
    results = [run.result or {"iou": {}, "miou": None} for run in compared]
    iou = [[of_run["iou"].get(name) for name in names] for of_run in results]
    means = [of_run["miou"] for of_run in results]
    source = "; ".join(map(_describe_result, compared))
  else:
    return None
  rows = [
    _class_row(name, color, share, of_class)
    for name, color, share, of_class in zip(
      names,
      compared[0].network.palette,
      shares,
      zip(*iou, strict=True),
      strict=True,
    )
  ]
  return ClassTable(source, rows, _class_row("mean", (0, 0, 0), None, means))


def _class_row(
  name: str,
  color: Sequence[int],
  share: float | None,
  iou: Sequence[float | None],
) -> ClassRow:
  return ClassRow(
    name=name,
    color=charts.to_hex(color),
    share="" if share is None else format_percent(share),
    iou=tuple(map(format_percent, iou)),
    bars=tuple(0.0 if _is_missing(v) else round(float(v), 2) for v in iou),
    difference=format_difference(iou),
  )


def _describe_result(run: runs.Run) -> str:
  if run.result is None:
    return f"{run.name} has no result.json"
  protocol, step = run.result["protocol"], run.result["step"]
  return f"result.json of {run.name}: {protocol}, step {step:,}"


def make_config_rows(compared: Sequence[runs.Run]) -> list[ConfigRow]:
  """Every key of the configs; those that differ come first."""
  configs = [workdir_lib.flatten(run.config) for run in compared]
  keys = dict.fromkeys(key for config in configs for key in config)
  rows = [
    ConfigRow(
      key,
      tuple(
        json.dumps(config[key]) if key in config else "" for config in configs
      ),
      any(config.get(key) != configs[0].get(key) for config in configs),
    )
    for key in keys
  ]
  return sorted(rows, key=lambda row: not row.differs)


def list_evaluations(
  compared: Sequence[runs.Run],
) -> list[tuple[str, str, str, str]]:
  """Run, evaluation, mIoU and pixel accuracy of all in `result.json`."""
  rows = []
  for run in compared:
    for name, scores in (run.result or {}).get("evaluations", {}).items():
      # Named after the protocol: "crop/miou".
      plain = {key.rpartition("/")[2]: value for key, value in scores.items()}
      percents = (
        format_percent(plain.get(key)) for key in ("miou", "pixel_accuracy")
      )
      rows.append((run.name, name, *percents))
  return rows
