"""The figures of `scripts/loop.py`: a table, and a picture."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from plotly import graph_objects

from scripts import spread

FIRST, RANDOM, NONE = "first", "random", "none"  # Ways to choose.


def by_arm(
  records: Sequence[Mapping[str, Any]], key: str = "miou"
) -> dict[str, dict[int, float]]:
  """{arm: {seed: value}}."""
  found = {}
  for record in records:
    found.setdefault(record["arm"], {})[record["seed"]] = record[key]
  return found


def make_table(records: Sequence[Mapping[str, Any]]) -> str:
  """A row for each way to choose: mIoU by seed, mean, difference to random."""
  arms = by_arm(records)
  lines = [
    "| chosen by | mIoU by seed | mean ± deviation | minus random, by seed |",
    "|---|---|---|---|",
  ]
  for arm, values in arms.items():
    seeds = sorted(values)
    shown = ", ".join(f"{values[s]:.1f}" for s in seeds)
    mean = spread.format_mean([values[s] for s in seeds])
    gains = [
      values[s] - arms[RANDOM][s] for s in seeds if s in arms.get(RANDOM, {})
    ]
    gain = ""
    if gains and arm not in (RANDOM, FIRST):
      gain = (
        ", ".join(f"{g:+.1f}" for g in gains) + f": {spread.format_mean(gains)}"
      )
    lines.append(f"| {arm} | {shown} | {mean} | {gain} |")
  return "\n".join(lines)


def draw(records: Sequence[Mapping[str, Any]]) -> graph_objects.Figure:
  """A line for each seed over the ways to choose, and their means."""
  arms = by_arm(records)
  names = [arm for arm in (FIRST, NONE, RANDOM) if arm in arms]
  names += [arm for arm in arms if arm not in names]
  figure = graph_objects.Figure()
  for seed in sorted({record["seed"] for record in records}):
    present = [name for name in names if seed in arms[name]]
    figure.add_scatter(
      x=present,
      y=[arms[name][seed] for name in present],
      mode="markers",
      name=f"seed {seed}",
      marker_size=10,
    )
  figure.add_scatter(
    x=names,
    y=[statistics.mean(arms[name].values()) for name in names],
    mode="markers",
    name="mean",
    marker={"symbol": "line-ew-open", "size": 40, "color": "black"},
  )
  figure.update_yaxes(title="mIoU, %")
  return figure.update_layout(
    template="plotly_white", width=800, height=480, margin={"t": 30}
  )
