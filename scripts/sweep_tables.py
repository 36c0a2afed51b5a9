"""The tables and plots of studies, made from records of their runs.

A page says where they go, and which classes' IoU they show beside the mIoU:

  <!-- study rare iou=star,ring -->
  ... whatever stands here is replaced ...
  <!-- end -->

The plot lies beside the page, in results/NAME.svg. The same records give the
same page, bit by bit, and with one version of Matplotlib the same plots.
"""

import collections
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import figure as figure_lib

from scripts import spread, svg

_BLOCK = re.compile(
  r"(<!-- study (?P<name>\S+)(?: iou=(?P<iou>\S+))? -->\n).*?(<!-- end -->)",
  re.DOTALL,
)
_FOLDER = "results"  # Of the plots, beside the page.
Record = Mapping[str, Any]


def update(page: pathlib.Path, records: Sequence[Record]) -> None:
  """Writes all blocks of a page anew, and their plots.

  Args:
    page: a file of Markdown.
    records: of `sweep_runs.make_record`.

  Raises:
    ValueError: a block names a study without runs; one line.
    OSError: the page cannot be read or written.
  """
  studies = collections.defaultdict(list)
  for record in records:
    studies[record["study"]].append(record)

  def fill(match: re.Match[str]) -> str:
    name = match["name"]
    if name not in studies:
      known = ", ".join(sorted(studies)) or "none"
      raise ValueError(f"{page}: study {name!r} has no runs; known: {known}")
    settings = group(studies[name])
    columns = match["iou"].split(",") if match["iou"] else ()
    folder = page.parent / _FOLDER
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.svg").write_bytes(draw(settings))
    return (
      f"{match[1]}\n{format_table(settings, columns)}\n\n"
      f"![mIoU over the steps of training]({_FOLDER}/{name}.svg)\n\n"
      f"{describe(studies[name])}\n\n{match[4]}"
    )

  page.write_text(_BLOCK.sub(fill, page.read_text()))


def group(records: Sequence[Record]) -> dict[str, list[Record]]:
  """Records by their setting, as main.py takes it; each by ascending seed."""
  settings = {_setting(record): [] for record in records}
  for record in sorted(records, key=lambda record: record["seed"]):
    settings[_setting(record)].append(record)
  return settings


def _setting(record: Record) -> str:
  return " ".join([record["config"], *record["flags"]])


def format_table(
  settings: Mapping[str, Sequence[Record]], columns: Sequence[str]
) -> str:
  """A table of Markdown with a row for each setting.

  Args:
    settings: of `group`; the first one is what the others are compared with,
      over the seeds that both have.
    columns: classes whose IoU is shown, mean over the seeds.
  """
  first = next(iter(settings.values()))
  taught = any(r["taught"] for rows in settings.values() for r in rows)
  head = ["setting", "mIoU, %", "seeds", "gain"]
  head += [f"IoU {name}" for name in columns]
  head += ["taught, %", "of it right, %"] if taught else []
  head += ["steps", "ms a step", "seconds"]
  lines = [head, ["---"] * len(head)]
  for setting, rows in settings.items():
    line = [f"`{setting}`", spread.format_mean([r["miou"] for r in rows])]
    line += [", ".join(f"{r['seed']}: {r['miou']:.1f}" for r in rows)]
    line += ["" if rows is first else _gain(rows, first)]
    line += [_mean([r["iou"][name] for r in rows]) for name in columns]
    if taught:
      line += [
        _mean([_percent(r["taught"].get(key)) for r in rows])
        for key in ("share", "accuracy")
      ]
    line += [", ".join(sorted({f"{r['step']:,}" for r in rows}))]
    line += [
      f"{statistics.median(r[key] for r in rows):.0f}"
      for key in ("milliseconds_per_step", "seconds")
    ]
    lines.append(line)
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(share: float | None) -> float | None:
  return None if share is None else 100 * share


def _mean(values: Sequence[float | None]) -> str:
  known = [value for value in values if value is not None]
  return f"{statistics.fmean(known):.1f}" if known else "–"


def _gain(rows: Sequence[Record], first: Sequence[Record]) -> str:
  base = {r["seed"]: r["miou"] for r in first}
  gains = [r["miou"] - base[r["seed"]] for r in rows if r["seed"] in base]
  return f"{statistics.fmean(gains):+.1f}" if gains else "–"


def describe(records: Sequence[Record]) -> str:
  """How and where the runs were made, in a paragraph."""

  def values(key):
    return ", ".join(sorted({str(record[key]) for record in records}))

  machines = {f"{record['cpu_count']} x {record['cpu']}" for record in records}
  loads = [record["load_average"][2] for record in records]
  jax = {record["versions"]["jax"] for record in records}
  dates = sorted(record["date"][:10] for record in records)
  days = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
  return (
    f"{len(records)} runs on {', '.join(sorted(machines))}, JAX"
    f" {', '.join(sorted(jax))}, {days}, load average {min(loads):.1f} to"
    f" {max(loads):.1f}, at {values('commit')}. mIoU is that of the last step,"
    f" `{values('protocol')}`; ± is the standard deviation over seeds; gain is"
    " the mean difference to the first row, seed by seed; the last two columns"
    " are medians."
  )


def draw(settings: Mapping[str, Sequence[Record]]) -> bytes:
  """An SVG of the mIoU over the steps: means thick, single seeds thin."""
  figure = figure_lib.Figure(figsize=(8, 4.5), layout="constrained")
  axes = figure.subplots()
  for index, (setting, rows) in enumerate(settings.items()):
    color = f"C{index % 10}"
    for row in rows:
      curve = row["curve"]
      axes.plot(curve["step"], curve["miou"], color=color, lw=0.6, alpha=0.6)
    steps = rows[0]["curve"]["step"]
    same = [r["curve"]["miou"] for r in rows if r["curve"]["step"] == steps]
    means = [statistics.fmean(column) for column in zip(*same)]
    axes.plot(steps, means, color=color, lw=2.2, label=_label(setting))
  axes.set(xlabel="steps", ylabel="mIoU, %")
  axes.grid(alpha=0.3)
  axes.legend(fontsize="small", frameon=False)
  return svg.encode(figure)


def _label(setting: str) -> str:
  """A setting without the folder and the ending of its config."""
  return re.sub(r"^configs/(\w+)\.py:?", r"\1 ", setting)
