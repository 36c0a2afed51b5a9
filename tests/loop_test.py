"""The script that measures the loop: its commands, its choices, its figures."""

import csv
import json
import pathlib

import numpy as np
import pytest

from scripts import loop, loop_figures
from tests import tree_files
from u2pl_jax.tools import records

IDS = [f"p{i}" for i in range(8)]
SIZE = (8, 9)


@pytest.fixture
def tree(tmp_path):
  """Eight images to train on, two of them labeled at first; one to validate."""
  root = tmp_path / "tree"
  for i, example_id in enumerate([*IDS, "v"]):
    tree_files.save_image(root / f"JPEGImages/{example_id}.jpg", SIZE)
    tree_files.save_mask(
      root / f"SegmentationClass/{example_id}.png", np.full(SIZE, i % 3)
    )
  lists = root / "ImageSets/Segmentation"
  tree_files.write_lines(lists / "train.txt", IDS)
  tree_files.write_lines(lists / "val.txt", ["v"])
  tree_files.write_lines(root / "splits/2/labeled.txt", IDS[:2])
  tree_files.write_classes(root)
  return root


class Commands:
  """Does what the commands would leave, and remembers them."""

  def __init__(self, fail_at=None):
    self.made, self._fail_at = [], fail_at

  def __call__(self, command):
    flags = dict(
      word.removeprefix("--").split("=", 1) for word in command if "=" in word
    )
    self.made.append((command, flags))
    if len(self.made) == self._fail_at:
      raise KeyboardInterrupt
    if "data_prep.folder" in command:
      folder = pathlib.Path(flags["data_dir"]) / flags["name"] / "1.0.0"
      folder.mkdir(parents=True)
    elif "main.py" in command:
      folder = pathlib.Path(flags["workdir"])
      folder.mkdir(parents=True)
      result = {"miou": 10.0 + len(self.made), "best_miou": 50.0, "iou": {}}
      result |= {"step": 6, "seconds": 1.0, "protocol": "crop"}
      (folder / "result.json").write_text(json.dumps(result))
    else:
      out = pathlib.Path(flags["out"])
      (out / "first").mkdir(parents=True)
      with open(out / "ranking.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rank", "image"])
        writer.writerows([[1, "p7.jpg"], [2, "p4.jpg"], [3, "p2.jpg"]])


def measure(tree, work, commands, arms=("entropy", "random")):
  plan = loop.Plan(tree, work, "2", 2, "c.py", "w.npz", ("--config.a=1",))
  out = work / "out.jsonl"
  loop.measure(plan, (0, 1), arms, out, commands)
  return records.read(out)


def test_each_way_to_choose_goes_on_from_the_first_run(tree, tmp_path):
  commands, work = Commands(), tmp_path / "work"
  found = measure(tree, work, commands)
  assert [(r["seed"], r["arm"]) for r in found] == [
    (seed, arm) for seed in (0, 1) for arm in ("first", "entropy", "random")
  ]
  first, entropy, random = found[:3]
  assert first["chosen"] == [] and entropy["chosen"] == ["p7", "p4"]
  assert set(random["chosen"]) < set(IDS[2:]) and len(random["chosen"]) == 2
  assert entropy["pixels"] == {"1": 144}  # Both are of class 1 alone.
  trainings = [flags for _, flags in commands.made if "workdir" in flags]
  trainings = [flags for flags in trainings if "config" in flags]
  assert trainings[0]["config.model.pretrained"] == "w.npz"
  for flags in trainings[1:3]:
    assert flags["config.model.pretrained"] == str(work / "runs/0_first")
    assert flags["config.seed"] == "0" and flags["config.a"] == "1"
  assert trainings[1]["config.data.name"] == "loop_0_entropy"
  corrected = work / "corrected/0_entropy/masks"
  assert {path.name for path in corrected.iterdir()} == {"p7.png", "p4.png"}
  masks = {path.stem for path in (work / "tree/SegmentationClass").iterdir()}
  assert masks == {"p0", "p1", "v"}
  pool = {path.stem for path in (work / "pool").iterdir()}
  assert pool == set(IDS[2:])


def test_no_further_labels_means_the_same_dataset(tree, tmp_path):
  commands = Commands()
  found = measure(tree, tmp_path / "work", commands, arms=("none",))
  assert found[1]["chosen"] == [] and found[1]["pixels"] == {}
  names = [flags.get("config.data.name") for _, flags in commands.made]
  assert names.count("loop") == 4


def test_draws_depend_on_the_seed_alone(tree, tmp_path):
  first = measure(tree, tmp_path / "a", Commands(), arms=("random",))
  second = measure(tree, tmp_path / "b", Commands(), arms=("random",))
  chosen = [record["chosen"] for record in first]
  assert chosen == [record["chosen"] for record in second]
  assert chosen[1] != chosen[3]


@pytest.mark.parametrize("fail_at", [2, 4, 6, 9])
def test_a_stopped_measurement_goes_on(fail_at, tree, tmp_path):
  whole = Commands()
  expected = measure(tree, tmp_path / "whole", whole)
  with pytest.raises(KeyboardInterrupt):
    measure(tree, tmp_path / "work", Commands(fail_at=fail_at))
  rest = Commands()
  found = measure(tree, tmp_path / "work", rest)
  keys = "seed", "arm", "chosen"
  assert [[r[key] for key in keys] for r in found] == [
    [r[key] for key in keys] for r in expected
  ]
  assert len(rest.made) == len(whole.made) - (fail_at - 1)
  again = Commands()
  measure(tree, tmp_path / "work", again)
  assert not again.made


RECORDS = [
  {"seed": seed, "arm": arm, "miou": miou}
  for arm, values in {
    "first": (20.0, 22.0), "random": (30.0, 32.0), "entropy": (31.0, 35.0)
  }.items()
  for seed, miou in enumerate(values)
]  # fmt: skip


def test_the_table_compares_seed_by_seed():
  rows = loop_figures.make_table(RECORDS).splitlines()[2:]
  assert rows == [
    "| first | 20.0, 22.0 | 21.0 ± 1.4 |  |",
    "| random | 30.0, 32.0 | 31.0 ± 1.4 |  |",
    "| entropy | 31.0, 35.0 | 33.0 ± 2.8 | +1.0, +3.0: 2.0 ± 1.4 |",
  ]


def test_the_picture_has_each_seed_and_the_mean():
  figure = loop_figures.draw(RECORDS)
  assert [trace.name for trace in figure.data] == ["seed 0", "seed 1", "mean"]
  assert figure.data[2].x == ("first", "random", "entropy")
  assert figure.data[2].y == (21.0, 31.0, 33.0)
