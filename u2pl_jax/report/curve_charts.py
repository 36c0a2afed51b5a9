"""Charts of the scalars that one or two runs logged."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from u2pl_jax.report import charts, curves, runs

MAX_POINTS = 400  # Of a curve; a chart is not many more pixels wide.
# Of shares that jump from batch to batch, with the images that it shows.
_POINTS_OF_SHARES = 60
_MAX_MARKERS = 100  # Curves of more points are lines alone.
_COLORS = ("#4a8fd4", "#d9822b", "#43a36f", "#b46ac0", "#c9a227", "#7a869a")
_DASHES = ("solid", "dot")  # Of the first and the second run.

_Curves = Mapping[str, curves.Curve]


@dataclasses.dataclass(frozen=True)
class _Kind:
  """Which scalars a chart shows: those tagged PREFIX NAME SUFFIX."""

  key: str
  title: str
  note: str
  prefix: str = ""
  suffix: str = ""
  by_class: bool = False
  tick_format: str = "~g"
  value_format: str = ".4g"
  unit: str = ""
  max_points: int = MAX_POINTS

  def find_curves(self, run: runs.Run) -> _Curves:
    """The curves of a run that belong into the chart, by NAME."""
    return {
      tag[len(self.prefix) : len(tag) - len(self.suffix)]: curve
      for tag, curve in run.curves.items()
      if tag.startswith(self.prefix) and tag.endswith(self.suffix)
    }


_of_batches = functools.partial(
  _Kind, tick_format=".0%", value_format=".1%", max_points=_POINTS_OF_SHARES
)
# Of what the truth about unlabeled images says, see `data.unlabeled_masks`.
_OF_TRUTH = (
  _of_batches(
    "taught",
    "Pixels taught",
    "Share of the unlabeled pixels of known class that are taught a"
    " pseudo-label; accuracy is the share of these whose label is right.",
    prefix="taught/",
  ),
  _of_batches(
    "taught-accuracy",
    "Right pseudo-labels by class",
    "Of the pixels taught as a class, the share that truly are of it.",
    prefix="taught_accuracy/",
    by_class=True,
  ),
  _of_batches(
    "taught-share",
    "Pixels taught by class",
    "Of the pixels that truly are of a class, the share that is taught, as"
    " whatever class.",
    prefix="taught_share/",
    by_class=True,
  ),
  _of_batches(
    "purity",
    "Purity of negatives",
    "Of the unlabeled pixels that became negatives of a class, the share that"
    " truly are of another one.",
    prefix="negative_purity/",
    by_class=True,
  ),
)
# Of what a method remembers of each class.
_OF_CLASSES = (
  _Kind(
    "confidence",
    "Confidence by class",
    "Moving average of the probability that the student gives a class where"
    " it is the label. Classes of little confidence are seen more often.",
    prefix="classes/confidence/",
    by_class=True,
    tick_format=".0%",
    value_format=".1%",
  ),
  _Kind(
    "present",
    "Images known to show a class",
    "Share of the unlabeled images that showed it when they were last seen.",
    prefix="classes/present/",
    by_class=True,
    tick_format=".0%",
    value_format=".1%",
  ),
  _Kind(
    "bank",
    "Memory banks",
    "How full the bank of each class's negatives is.",
    prefix="bank/fill/",
    by_class=True,
    tick_format=".0%",
    value_format=".1%",
  ),
)


def _kinds(protocol: str) -> tuple[_Kind, ...]:
  """In the order of the page; IoU by class is that of one protocol."""
  evaluated = f"Of the validation images, evaluated in training ({protocol})."
  return (
    _Kind(
      "miou",
      "mIoU",
      evaluated,
      suffix="/miou",
      value_format=".2f",
      unit=" %",
    ),
    _Kind(
      "iou",
      "IoU by class",
      evaluated,
      prefix=f"{protocol}/iou/",
      by_class=True,
      value_format=".2f",
      unit=" %",
    ),
    _Kind("loss", "Losses", "Of the training batches.", prefix="loss/"),
    _Kind(
      "threshold",
      "Entropy thresholds",
      "In nats. Pixels at or above the drop threshold get no pseudo-label.",
      prefix="semi/",
      suffix="_threshold",
    ),
    _Kind(
      "fraction",
      "Reliable pixels",
      "Share of the unlabeled pixels that keep their pseudo-label, and of"
      " those that may be anchors.",
      prefix="semi/",
      suffix="_fraction",
      tick_format=".0%",
      value_format=".1%",
    ),
    *_OF_TRUTH,
    *_OF_CLASSES,
  )


def draw_curves(compared: Sequence[runs.Run]) -> list[charts.Chart]:
  """The charts for which there is a curve.

  Args:
    compared: one run, drawn solid, or two, the second one dotted.
  """
  protocols = [run.miou[0] for run in compared if run.miou is not None]
  kinds = _kinds(protocols[0] if protocols else "")
  return [
    _draw_kind(kind, compared)
    for kind in kinds
    if any(map(kind.find_curves, compared))
  ]


def _draw_kind(kind: _Kind, compared: Sequence[runs.Run]) -> charts.Chart:
  found = [kind.find_curves(run) for run in compared]
  groups = _group_alike(kind, found)
  figure = charts.make_figure(
    hovermode="closest" if kind.by_class else "x unified",
    showlegend=len(groups) > 1 or len(groups[0]) > 1,
  )
  figure.update_xaxes(tickformat=",", unifiedhovertitle_text="step %{x:,}")
  figure.update_yaxes(tickformat=kind.tick_format, ticksuffix=kind.unit)
  lengths = set()
  lines = itertools.product(enumerate(groups), zip(compared, _DASHES, found))
  for (index, names), (run, dash, of_run) in lines:
    if names[0] not in of_run:
      continue
    curve, length = curves.block_means(of_run[names[0]], kind.max_points)
    lengths.add(length)
    title = " = ".join(names)
    figure.add_scatter(
      x=curve.steps,
      y=curve.values,
      name=title,
      legendgroup=title,
      showlegend=title not in [line.name for line in figure.data],
      line=dict(color=_color(kind, names[0], index, run), dash=dash, width=1.8),
      mode="lines+markers" if len(curve.steps) <= _MAX_MARKERS else "lines",
      hovertemplate=_hover_text(kind, title, run, compared),
    )
  note = kind.note + _describe_means(lengths)
  return charts.Chart(kind.key, kind.title, note, charts.to_json(figure))


def _color(kind: _Kind, name: str, index: int, run: runs.Run) -> str:
  """That of the class, or the next one."""
  if not kind.by_class:
    return _COLORS[index % len(_COLORS)]
  network = run.network
  return charts.make_visible(network.palette[network.class_names.index(name)])


def _hover_text(
  kind: _Kind, title: str, run: runs.Run, compared: Sequence[runs.Run]
) -> str:
  of_run = f", {run.name}" if len(compared) > 1 else ""
  step = "<br>step %{x:,}" if kind.by_class else ""
  value = f"%{{y:{kind.value_format}}}{kind.unit}"
  return f"{title}{of_run} {value}{step}<extra></extra>"


def _describe_means(lengths: set[int]) -> str:
  if max(lengths) == 1:
    return ""
  steps = " or ".join(map(str, sorted(lengths)))
  return f" Each point is the mean of {steps} steps."


def _group_alike(kind: _Kind, found: Sequence[_Curves]) -> list[list[str]]:
  """Names of the curves; those that would hide each other share a group."""
  groups = []
  for name in dict.fromkeys(itertools.chain(*found)):
    for group in groups:
      pairs = [(of_run.get(name), of_run.get(group[0])) for of_run in found]
      if not kind.by_class and all(_are_alike(*pair) for pair in pairs):
        group.append(name)
        break
    else:
      groups.append([name])
  return groups


def _are_alike(one: curves.Curve | None, other: curves.Curve | None) -> bool:
  if one is None or other is None:
    return one is other
  return np.array_equal(one.steps, other.steps) and np.allclose(
    one.values, other.values, rtol=1e-3, equal_nan=True
  )
