"""The benchmarks of programs: what they refuse, and a whole one."""

import importlib.util
import json
import sys

import pytest

from tests import one_line
from u2pl_jax.tools import benchmark, benchmark_programs, benchmark_turns


def fail(capsys, *argv):
  """The one line with which the program ends, after no other."""
  line = one_line.error_of(benchmark.main, *argv, "--out=")
  assert not capsys.readouterr().err
  return line


def has(package):
  return importlib.util.find_spec(package) is not None


@pytest.fixture
def stubbed(monkeypatch):
  """Stubs in the place of all sides, and what they were given."""
  given = {}

  def measure(sides, rounds, *, alone):
    given.update({name: side.settings for name, side in sides.items()})
    times = {"ours": [2.0, 1.0, 3.0], "contiguous/float32": [5.0, 4.0, 6.0]}
    return {
      name: {
        "seconds": benchmark_turns.summarize(times.get(name, [9.0] * 3)),
        "matmul_flops_per_second": 100.0,
        "peak_mib": 50.0 if name == "ours" else 75.0,
        "platform": "cpu",
      }
      | ({"flops": 10} if name == "ours" else {})
      for name in sides
    }

  monkeypatch.setattr(benchmark_turns, "measure", measure)
  monkeypatch.setattr(benchmark_programs, "check_peer", lambda peer: None)
  return given


def record_of(tmp_path, *argv):
  out = tmp_path / "records.jsonl"
  assert benchmark.main([*argv, f"--out={out}"]) == 0
  return json.loads(out.read_text())


@pytest.mark.parametrize(
  "name", ["step", "contrast", "partition", "augment", "eval"]
)
def test_the_peers_best_setting_is_quoted(name, stubbed, tmp_path):
  record = record_of(tmp_path, name, "--peer")
  assert record["benchmark"] == name
  assert record["best_peer"] == "contiguous/float32"
  assert record["ratio"] == 2.5
  assert record["ratio_of_rounds"] == {"min": 2.0, "max": 4.0}
  assert record["memory_ratio"] == 1.5
  assert record["flops"] == 10
  assert record["ours"]["flops_per_second"] == 5.0
  assert record["ours"]["fraction_of_matmul"] == 0.05
  assert "channels_last/float32" in record["peers"]
  config = json.loads(json.dumps(stubbed["ours"]["config"]))
  assert config == record["config"]
  theirs = stubbed["channels_last/float32"]
  assert theirs["config"] == stubbed["ours"]["config"]
  assert theirs["format"] == "channels_last"


def test_another_config_of_ours_takes_the_peers_place(stubbed, tmp_path):
  ours, theirs = (f"configs/voc.py:366,method={m}" for m in ("u2pl", "suponly"))
  flags = (f"--config={ours}", f"--against={theirs}", "--batch_size=3")
  record = record_of(tmp_path, "step", *flags)
  assert record["best_peer"] == theirs
  assert record["ratio"] == 4.5
  assert record["config"]["method"] == "u2pl"
  config = stubbed[theirs]["config"]
  assert (config["method"], config["data"]["batch_size_l"]) == ("suponly", 3)


def test_only_one_side_is_compared_with(stubbed, capsys):
  line = fail(capsys, "step", "--peer", "--against=configs/voc.py:366")
  assert line == (
    "error: --against=configs/voc.py:366: takes the place of --peer"
  )


def test_without_a_peer_there_is_no_ratio(stubbed, tmp_path):
  record = record_of(tmp_path, "step")
  assert record["ours"] and not {"ratio", "peers"} & record.keys()


def test_bfloat16_adds_settings_of_the_peer(stubbed, tmp_path):
  record = record_of(tmp_path, "step", "--peer", "--dtype=bfloat16")
  assert record["config"]["model"]["dtype"] == "bfloat16"
  assert "channels_last/bfloat16" in stubbed


def test_flags_change_the_config(stubbed, tmp_path):
  record = record_of(
    tmp_path,
    "step",
    "--crop_size=65",
    "--batch_size=3",
    "--set=model.encoder=resnet101",
    "--set=optim.momentum=0.5",
    "--recipe=reference",
  )
  config = record["config"]
  assert config["data"]["crop_size"] == [65, 65]
  assert config["data"]["batch_size_l"] == config["data"]["batch_size_u"] == 3
  assert config["model"]["encoder"] == "resnet101"
  assert config["optim"]["momentum"] == 0.5
  assert config["contrast"]["num_anchors"] == 256


def test_a_config_file_replaces_the_defaults(stubbed, tmp_path):
  config = "--config=configs/synthetic.py:method=suponly"
  record = record_of(tmp_path, "step", config, "--num_classes=8")
  assert record["config"]["model"]["encoder"] == "resnet18"
  assert "contrast" not in record["config"]
  assert stubbed["ours"]["num_classes"] == stubbed["ours"]["num_present"] == 8


@pytest.mark.parametrize(
  "argv, said",
  [
    (["step", "--dtype=float8"], "--dtype=float8: must be one of float32"),
    (["eval", "--dtype=int8"], "--dtype=int8"),
    (["step", "--banks=half"], "--banks=half"),
    (["step", "--recipe=cake"], "--recipe=cake: must be one of paper"),
    (["step", "--peer=tf"], "--peer=tf: must be one of torch"),
    (["step", "--rounds=0"], "--rounds"),
    (["step", "--crop_size=3"], "--crop_size=3"),
    (["step", "--num_present=22"], "--num_present=22"),
    (["step", "--set=optim.speed=1"], "--set=optim.speed: "),
    (["step", "--set=speed"], "--set=speed: expected KEY=VALUE"),
    (["step", "--config=none.py"], "--config=none.py: no such file"),
    (
      ["step", "--config=configs/voc.py", "--recipe=paper"],
      "--recipe: with --config",
    ),
    (
      ["predict", "--peer", "--images=x", "--weights=y"],
      "--peer: predict has no peer",
    ),
  ],
)
def test_bad_input_is_one_line(argv, said, capsys):
  assert said in fail(capsys, *argv)


def test_a_missing_pytorch_is_one_line(capsys, monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name, *rest: None if name == "torch" else find(name, *rest),
  )
  line = fail(capsys, "contrast", "--peer")
  assert line.startswith("error: --peer=torch:")
  assert "pip install torch" in line


def test_a_missing_checkout_is_one_line(capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "benchmarks.settings", None)
  assert "in a checkout of the repository" in fail(capsys, "step")


def test_sides_on_other_devices_are_not_compared(capsys, stubbed, monkeypatch):
  measure = benchmark_turns.measure

  def on_others(*arguments, **options):
    results = measure(*arguments, **options)
    results["ours"]["platform"] = "tpu"
    return results

  monkeypatch.setattr(benchmark_turns, "measure", on_others)
  assert "ours ran on tpu, the peer on cpu" in fail(capsys, "step", "--peer")


@pytest.mark.skipif(not has("torch"), reason="needs torch")
def test_a_whole_benchmark_beside_its_peer(tmp_path, monkeypatch):
  monkeypatch.setattr(benchmark_turns, "_BLOCK_SECONDS", 0.01)
  record = record_of(
    tmp_path,
    "augment",
    "--peer",
    "--rounds=2",
    "--batch_size=2",
    "--crop_size=33",
  )
  assert record["ratio"] > 0 and record["memory_ratio"] > 0
  for side in (record["ours"], *record["peers"].values()):
    assert side["matmul_flops_per_second"] > 1e8
    assert len(side["seconds"]["rounds"]) == 2
  assert record["ours"]["shapes"]["images"] == [2, 33, 33, 3]
