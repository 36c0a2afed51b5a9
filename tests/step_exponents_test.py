"""Points are measured once, and the picture tells their exponents."""

import json

import pytest

from scripts import step_exponents
from u2pl_jax.tools import records


def test_the_exponent_is_that_of_a_power():
  sizes = (2, 3, 7, 20)
  cubic = [5.0 * size**3 for size in sizes]
  assert step_exponents.fit_exponent(sizes, cubic) == pytest.approx(3.0)
  assert step_exponents.fit_exponent(sizes, [4.0] * 4) == pytest.approx(0.0)


def make_record(size, value):
  seconds = {"seconds": 0.1 * value**2, "peak_mib": 1024.0 * value}
  return {"size": size, "value": value} | seconds


def test_a_stopped_measurement_goes_on(tmp_path, monkeypatch, capsys):
  calls = []

  def run(**settings):
    calls.append(settings)
    seconds = {"median": 1.0, "min": 0.9, "max": 1.1}
    return {"ours": {"seconds": seconds, "peak_mib": 100.0}}

  monkeypatch.setattr(step_exponents.benchmark_programs, "run", run)
  out = tmp_path / "points.jsonl"
  out.write_text(json.dumps(make_record("batch", 1)) + "\n")
  assert step_exponents.main(["measure", f"--out={out}", "--rounds=2"]) == 0
  points = [(r["size"], r["value"]) for r in records.read(out)]
  expected = [
    (s, v) for s, values in step_exponents.SIZES.items() for v in values
  ]
  assert points == expected and len(calls) == len(points) - 1
  assert calls[0]["batch_size"] == 2 and calls[0]["crop_size"] is None
  assert calls[-1]["changes"] == [
    "contrast.bank_capacity=120000", "contrast.bank_capacity_class0=120000"
  ]  # fmt: skip
  assert "15/15" in capsys.readouterr().err


def test_the_picture_shows_each_size_with_its_exponents(tmp_path):
  points = [
    make_record(size, value)
    for size, values in step_exponents.SIZES.items()
    for value in values
  ]
  figure = step_exponents.draw(points)
  assert [axes.get_xlabel() for axes in figure.axes] == list(
    step_exponents.TITLES.values()
  )
  for axes in figure.axes:
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["seconds, p = 2.00", "GiB, p = 1.00"]
  figure.savefig(tmp_path / "picture.svg")
