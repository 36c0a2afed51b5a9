"""Sweeps: which runs, their records, the tables; a line for each mistake."""

import json
import pathlib
import subprocess

import numpy as np
import pytest

from scripts import sweep, sweep_runs, sweep_tables
from tests import run_flags
from tests.report import reported
from u2pl_jax import methods
from u2pl_jax.report import curves
from u2pl_jax.tools import records

RESULT = {
  "method": "toy",
  "recipe": "paper",
  "seed": 0,
  "step": 20,
  "network": "teacher",
  "protocol": "whole",
  "miou": 50.0,
  "pixel_accuracy": 80.0,
  "best_step": 10,
  "best_miou": 51.0,
  "seconds": 9.5,
  "milliseconds_per_step": 40.2,
  "iou": {"ball": 70.0, "star": None},
}
# Stands for main.py: leaves what a run leaves.
MAIN = """
import json, pathlib, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
if "fail" in flags["config"]:
  sys.exit("error: no such data")
folder, seed = pathlib.Path(flags["workdir"]), int(flags["config.seed"])
folder.mkdir(parents=True)
result = RESULT | {"seed": seed, "miou": 50.0 + seed}
(folder / "result.json").write_text(json.dumps(result))
(folder / "config.json").write_text(json.dumps({"data": {"split": "24"}}))
"""


def make_record(config, seed, miou, flags=(), **changes):
  return {
    **RESULT,
    "study": "toys",
    "config": config,
    "flags": list(flags),
    "split": "24",
    "seed": seed,
    "miou": miou,
    "curve": {"step": [10, 20], "miou": [miou - 5, miou]},
    "taught": {},
    "commit": "abc1234",
    "cpu": "Toy CPU",
    "cpu_count": 2,
    "load_average": [1, 1, 1.5],
    "versions": {"jax": "0.10.2"},
    "date": "2026-01-02T03:04:05+00:00",
    **changes,
  }


def write_study(tmp_path, text):
  path = tmp_path / "toys.txt"
  path.write_text(text)
  return path


def fail(call, *arguments):
  with pytest.raises((ValueError, SystemExit)) as caught:
    call(*arguments)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_every_setting_comes_with_its_first_seed_first(tmp_path):
  path = write_study(
    tmp_path, "# Toys.\na.py:x seeds=0,1 --config.k=2\n\nb.py seeds=3,4  # b\n"
  )
  runs = sweep_runs.read_study(path)
  assert [(run.config, run.seed) for run in runs] == [
    ("a.py:x", 0),
    ("b.py", 3),
    ("a.py:x", 1),
    ("b.py", 4),
  ]
  assert (runs[0].study, runs[0].flags) == ("toys", ("--config.k=2",))
  assert runs[0].name == "a-x-_config.k=2/seed0"
  assert len({run.name for run in runs}) == 4
  assert runs[0].command("DIR") == [
    "main.py",
    "--config=a.py:x",
    "--workdir=DIR",
    "--config.seed=0",
    "--config.k=2",
  ]


@pytest.mark.parametrize(
  ("text", "told"),
  [
    ("a.py\n", "line 1: expected CONFIG:ARGUMENT seeds=0,1,2"),
    ("a.py seeds=0\na.py seeds=x\n", "line 2: expected CONFIG"),
    ("a.py seeds=0 config.k=2\n", "line 1: expected CONFIG"),
    ("a.py seeds=0,0\n", "a/seed0 is there twice"),
    ("# nothing\n", "toys.txt lists no runs"),
  ],
)
def test_a_wrong_line_of_a_study_is_named(tmp_path, text, told):
  path = write_study(tmp_path, text)
  assert told in fail(sweep_runs.read_study, path)


def test_a_commit_is_dirty_if_code_has_changed_and_not_by_records(
  tmp_path, monkeypatch
):
  def git(*words):
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *author, *words], cwd=tmp_path, check=True)

  monkeypatch.setattr(sweep_runs, "_MAIN", tmp_path / "main.py")
  (tmp_path / "results").mkdir()
  code, runs = tmp_path / "main.py", tmp_path / "results/runs.jsonl"
  code.write_text("")
  runs.write_text("")
  git("init", "--quiet")
  git("add", ".")
  git("commit", "--quiet", "--message=Begin")
  runs.write_text("{}\n")
  commit = sweep_runs._commit()
  assert commit and "dirty" not in commit
  code.write_text("1\n")
  assert sweep_runs._commit() == f"{commit}-dirty"


@run_flags.IGNORES
@pytest.mark.parametrize(
  "path",
  sorted(pathlib.Path("results/studies").iterdir()),
  ids=lambda p: p.stem,
)
def test_every_setting_of_a_study_is_taken(path):
  for run in sweep_runs.read_study(path):
    config = run_flags.parse(None, run.command("DIR")[1:])
    for section in methods.find(config.method).OPTIONS:
      section.read(config.to_dict())


@pytest.fixture
def command(tmp_path, monkeypatch):
  """Calls the sweep with a program that stands for main.py."""
  main = tmp_path / "main.py"
  main.write_text(MAIN.replace("RESULT", repr(RESULT)))
  monkeypatch.setattr(sweep_runs, "_MAIN", main)
  curve = curves.Curve(np.array([10]), np.array([40.0]))
  monkeypatch.setattr(
    sweep_runs.curves_lib, "read_curves", lambda _: {"whole/miou": curve}
  )
  out, lines = tmp_path / "runs", tmp_path / "runs.jsonl"

  def call(text, *flags):
    path = write_study(tmp_path, text)
    code = sweep.main(
      ["run", str(path), f"--out={out}", f"--records={lines}", *flags]
    )
    return code, records.read(lines)

  return call


def test_what_has_a_record_is_not_run_again(command, capsys):
  code, found = command("toy.py seeds=0,1\n")
  assert code == 0
  assert [(r["seed"], r["miou"], r["split"]) for r in found] == [
    (0, 50.0, "24"),
    (1, 51.0, "24"),
  ]
  assert found[0]["curve"] == {"step": [10], "miou": [40.0]}
  assert found[0]["command"].startswith("python main.py --config=toy.py")
  code, again = command("toy.py seeds=0,1,2\n", "--at_once=2")
  assert (code, again[:2], len(again)) == (0, found, 3)
  assert "2 of 3 runs are done" in capsys.readouterr().out


def test_a_run_that_fails_is_told_and_the_others_go_on(command, capsys):
  code, found = command("fail.py seeds=0\ntoy.py seeds=0\n")
  assert (code, len(found)) == (1, 1)
  assert "fail/seed0: failed (1)" in capsys.readouterr().out
  assert "--at_once=0: must be 1" in fail(
    command, "toy.py seeds=0\n", "--at_once=0"
  )


def test_what_was_taught_counts_in_the_last_tenth(tmp_path):
  events = {
    step: {"taught/share": 0.1 * (step > 18), "whole/miou": step}
    for step in (1, 10, 18, 19, 20)
  }
  reported.write_events(tmp_path, events)
  (tmp_path / "result.json").write_text(json.dumps(RESULT))
  (tmp_path / "config.json").write_text('{"data": {"split": "24"}}')
  one = sweep_runs.Run("toys", "toy.py", (), 0)
  record = sweep_runs.make_record(one, tmp_path)
  assert record["taught"] == {"share": 0.1}
  assert record["curve"]["miou"] == [1, 10, 18, 19, 20]


PAGE = """Before.

<!-- study toys iou=ball,star -->
old
<!-- end -->

After.
"""


def test_tables_replace_the_block_alone_and_are_the_same_again(tmp_path):
  page, lines = tmp_path / "page.md", tmp_path / "runs.jsonl"
  page.write_text(PAGE)
  for seed, base, other in ((0, 40.0, 43.0), (1, 42.0, 47.0)):
    records.append(make_record("c.py:a", seed, base), lines)
    records.append(make_record("c.py:b", seed, other, ["--config.k=1"]), lines)
  command = ["tables", f"--page={page}", f"--records={lines}"]
  assert sweep.main(command) == 0
  text, plot = page.read_text(), tmp_path / "results" / "toys.svg"
  assert text.startswith("Before.\n\n<!-- study toys iou=ball,star -->\n\n| ")
  assert text.endswith("<!-- end -->\n\nAfter.\n") and "old" not in text
  assert (
    "| `c.py:a` | 41.0 ± 1.4 | 0: 40.0, 1: 42.0 |  | 70.0 | – | 20 | 40 | 10 |"
  ) in text
  assert "| `c.py:b --config.k=1` | 45.0 ± 2.8 | 0: 43.0, 1: 47.0 | +4.0 |" in (
    text
  )
  drawn = plot.read_bytes()
  assert sweep.main(command) == 0
  assert (page.read_text(), plot.read_bytes()) == (text, drawn)


def test_what_was_taught_has_columns_where_it_is_known():
  settings = sweep_tables.group(
    [
      make_record("c.py:a", 0, 40.0),
      make_record("c.py:b", 0, 41.0, taught={"share": 0.5, "accuracy": 0.9}),
    ]
  )
  head, _, first, second = sweep_tables.format_table(settings, ()).splitlines()
  assert "| taught, % | of it right, % |" in head
  assert (
    "|  | – | – | 20 |" in first and "| +1.0 | 50.0 | 90.0 | 20 |" in second
  )


def test_a_study_without_runs_is_named(tmp_path):
  page = tmp_path / "page.md"
  page.write_text(PAGE)
  lines = tmp_path / "runs.jsonl"
  command = ["tables", f"--page={page}", f"--records={lines}"]
  assert "study 'toys' has no runs; known: none" in fail(sweep.main, command)
  lines.write_text("{\n")
  assert "runs.jsonl, line 1 is damaged" in fail(sweep.main, command)
