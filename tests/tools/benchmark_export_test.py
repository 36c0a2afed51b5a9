"""The benchmark of exported programs."""

import json
import pathlib

import pytest

from tests import one_line
from u2pl_jax.tools import benchmark, benchmark_export, benchmark_turns

SMALL = [
  "--encoder=tests.toy_encoder",
  "--decoder=tests.toy_decoder",
  "--size=28,28",
]


def need_packages():
  for name in ("jax2onnx", "onnxruntime"):
    pytest.importorskip(name, reason="the extra onnx is not installed")


def test_all_programs_run_and_are_recorded(tmp_path, monkeypatch):
  need_packages()
  sides = {}

  def measure(given, rounds):
    assert rounds == 2
    for name, side in given.items():
      work = benchmark_export.make(json.loads(json.dumps(side.settings)))
      work.run(2)
      sides[name] = pathlib.Path(side.settings["path"]).stat().st_size
    return {name: {"seconds": {"median": 1.0}} for name in given}

  monkeypatch.setattr(benchmark_turns, "measure", measure)
  out = tmp_path / "records.jsonl"
  argv = ["export", *SMALL, "--rounds=2", f"--out={out}"]
  assert benchmark.main(argv) == 0
  record = json.loads(out.read_text())
  assert record["settings"]["encoder"] == "tests.toy_encoder"
  for name in ("jax", "stablehlo", "onnx"):
    assert record[name]["file_mb"] == sides[name] / 1e6
    assert record[name]["seconds"]["median"] == 1.0


@pytest.mark.parametrize(
  "flag, words",
  [
    ("--size=free", "--size=free: must be HEIGHT,WIDTH"),
    ("--size=5,5", "--size=5,5"),
    ("--rounds=0", "--rounds=0"),
    ("--encoder=none", "none"),
  ],
)
def test_bad_flags_are_told(flag, words, monkeypatch):
  monkeypatch.setattr(
    benchmark_export.export_onnx, "load_packages", lambda: None
  )
  assert words in one_line.error_of(
    benchmark.main, "export", *SMALL, flag, "--out="
  )
