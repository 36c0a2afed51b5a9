"""Measures what it is worth to label by a ranking: label, train, choose, again.

  python scripts/loop.py measure --root=TREE --work=DIR --out=loop.jsonl \\
    --weights=efficientnet_lite0.npz -- --config.train.epochs=6
  python scripts/loop.py table --records=loop.jsonl
  python scripts/loop.py draw --records=loop.jsonl --out=loop.html

TREE is a VOC-style tree with the masks of all its training images
(ImageSets/Segmentation/train.txt), which play the annotator, and a split that
says which of them are labeled at first (splits/SPLIT/labeled.txt). For each
seed `measure` trains on these, labels the others with `autolabel`, and for each
way to choose adds the masks of so many more with `data_prep.folder --add_to`
and trains on, from the weights of the first run:

  entropy_diversity, entropy, diversity   the first ranks of `autolabel`
  random                                  drawn, by the seed
  none                                    no more labels, to tell their effect
                                          from that of training longer

All runs are made with the flags after "--", which main.py gets. The file of
--out gets a line of JSON for each run; the same command again goes on where the
one before was stopped.

`table` prints mean and deviation over seeds, and the difference to `random`
seed by seed; `draw` makes a page of the same figures.
"""

import argparse
import csv
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

if not __package__:  # Run as a file.
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import plotly.io
from PIL import Image

from scripts import loop_figures
from u2pl_jax.data import datasets
from u2pl_jax.predict import ranking
from u2pl_jax.tools import records

_REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
FIRST, RANDOM, NONE = loop_figures.FIRST, loop_figures.RANDOM, loop_figures.NONE
ARMS = (*ranking.KINDS, RANDOM, NONE)
_LISTS, _MASKS, _IMAGES = (
  "ImageSets/Segmentation", "SegmentationClass", "JPEGImages"
)  # fmt: skip
_DATASET = "loop"
_PHILOX_KEY = int.from_bytes(b"loop")

Run = Callable[[Sequence[str]], None]  # A command; raises if it fails.


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is measured.

  Attributes:
    root: the tree.
    work: the folder of all that is made.
    split: says which images are labeled at first.
    count: how many are labeled then.
    config: file of the config.
    weights: what the first run starts from; "" for random weights.
    flags: further flags of main.py.
  """

  root: pathlib.Path
  work: pathlib.Path
  split: str
  count: int
  config: str
  weights: str
  flags: tuple[str, ...]

  def read_list(self, name: str) -> list[str]:
    """The ids of a list in the tree."""
    return datasets.read_id_list(self.root / name)

  def mask_of(self, example_id: str) -> pathlib.Path:
    """The file of a true mask."""
    return self.root / _MASKS / f"{example_id}.png"


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command; returns the exit code."""
  args = _read_arguments(argv)
  if args.command == "table":
    print(loop_figures.make_table(records.read(args.records)))
  elif args.command == "draw":
    figure = loop_figures.draw(records.read(args.records))
    plotly.io.write_html(figure, args.out, include_plotlyjs=True)
  else:
    plan = Plan(
      root=args.root.resolve(),
      work=args.work.resolve(),
      split=args.split,
      count=args.count,
      config=args.config,
      weights=args.weights and str(pathlib.Path(args.weights).resolve()),
      flags=tuple(args.flags),
    )
    measure(plan, args.seeds, args.arms, args.out, _run)
  return 0


def _read_arguments(argv):
  words = sys.argv[1:] if argv is None else list(argv)
  cut = words.index("--") if "--" in words else len(words)
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  commands = parser.add_subparsers(dest="command", required=True)
  path = {"type": pathlib.Path, "required": True}
  measuring = commands.add_parser("measure", help="makes the runs")
  add = measuring.add_argument
  add("--root", help="the tree", **path)
  add("--work", help="folder of all that is made", **path)
  add("--out", help="file of the records", **path)
  add("--split", default="27", help="of the tree; default: 27")
  add("--count", type=int, default=27, help="of new labels; default: 27")
  add("--config", default="configs/voc_animals_pretrained.py")
  add("--weights", default="", help="what the first run starts from")
  add("--seeds", type=_read_seeds, default=(0, 1, 2), help="default: 0,1,2")
  add(
    "--arms",
    type=_read_arms,
    default=("entropy_diversity", RANDOM),
    help=f"some of {','.join(ARMS)}; default: entropy_diversity,random",
  )
  for name in ("table", "draw"):
    showing = commands.add_parser(name)
    showing.add_argument("--records", **path)
    if name == "draw":
      showing.add_argument("--out", **path)
  args = parser.parse_args(words[:cut])
  args.flags = words[cut + 1 :]
  return args


def _read_seeds(text: str) -> tuple[int, ...]:
  return tuple(map(int, text.split(",")))


def _read_arms(text: str) -> tuple[str, ...]:
  arms = tuple(text.split(","))
  for arm in arms:
    if arm not in ARMS:
      raise argparse.ArgumentTypeError(f"{arm!r} is none of {', '.join(ARMS)}")
  return arms


def _run(command: Sequence[str]) -> None:
  print("+", *command, flush=True)
  subprocess.run(command, check=True, cwd=_REPOSITORY)


def measure(
  plan: Plan,
  seeds: Sequence[int],
  arms: Sequence[str],
  out: pathlib.Path,
  run: Run,
) -> None:
  """Appends a line of JSON for each run that the file does not hold yet.

  Args:
    plan: what is measured.
    seeds: of training and of random choices.
    arms: some of `ARMS`.
    out: the file.
    run: runs a command.
  """
  done = {(found["seed"], found["arm"]) for found in records.read(out)}
  prepare(plan, run)
  for seed in seeds:
    if (seed, FIRST) not in done:
      train(plan, seed, FIRST, run)
      _append(plan, seed, FIRST, [], out)
    for arm in arms:
      if (seed, arm) not in done:
        chosen = choose(plan, seed, arm, run)
        annotate(plan, seed, arm, chosen, run)
        train(plan, seed, arm, run)
        _append(plan, seed, arm, chosen, out)


def prepare(plan: Plan, run: Run) -> None:
  """Makes the dataset that has the first masks alone, and a pool of images."""
  labeled = plan.read_list(f"splits/{plan.split}/labeled.txt")
  train = plan.read_list(f"{_LISTS}/train.txt")
  val = plan.read_list(f"{_LISTS}/val.txt")
  tree, pool = plan.work / "tree", plan.work / "pool"
  for folder in (tree / _LISTS, tree / _MASKS, pool):
    folder.mkdir(parents=True, exist_ok=True)
  _link(tree / _IMAGES, plan.root / _IMAGES)
  _link(tree / "classes.json", plan.root / "classes.json")
  for name, ids in (("train", train), ("val", val)):
    lines = "".join(f"{example_id}\n" for example_id in ids)
    (tree / _LISTS / f"{name}.txt").write_text(lines)
  for example_id in (*labeled, *val):
    mask = plan.mask_of(example_id)
    _link(tree / _MASKS / mask.name, mask)
  for example_id in set(train) - set(labeled):
    image = plan.root / _IMAGES / f"{example_id}.jpg"
    _link(pool / image.name, image)
  _prepare(plan, [f"--root={tree}"], _DATASET, run)


def _link(link: pathlib.Path, target: pathlib.Path) -> None:
  if not link.is_symlink():
    link.symlink_to(target)


def _prepare(plan: Plan, flags: Sequence[str], name: str, run: Run) -> None:
  data_dir = plan.work / "data"
  if not datasets.dataset_path(name, data_dir).exists():
    target = [f"--name={name}", f"--data_dir={data_dir}"]
    run([sys.executable, "-m", "data_prep.folder", *flags, *target])


def _name(seed: int, arm: str) -> str:
  """Of a dataset; the first one is that of all seeds."""
  return _DATASET if arm in (FIRST, NONE) else f"{_DATASET}_{seed}_{arm}"


def _workdir(plan: Plan, seed: int, arm: str) -> pathlib.Path:
  return plan.work / f"runs/{seed}_{arm}"


def train(plan: Plan, seed: int, arm: str, run: Run) -> None:
  """Trains, or goes on; a run that has ended stays as it is."""
  workdir = _workdir(plan, seed, arm)
  if (workdir / "result.json").exists():
    return
  weights = plan.weights if arm == FIRST else _workdir(plan, seed, FIRST)
  settings = {
    "data.name": _name(seed, arm),
    "data.data_dir": plan.work / "data",
    "data.split": "all",
    "model.pretrained": weights,
    "seed": seed,
  }
  run(
    [
      sys.executable,
      "main.py",
      f"--config={plan.config}",
      f"--workdir={workdir}",
      *(f"--config.{key}={value}" for key, value in settings.items()),
      *plan.flags,
    ]
  )


def choose(plan: Plan, seed: int, arm: str, run: Run) -> list[str]:
  """The ids of the images to be labeled next."""
  if arm == NONE:
    return []
  pool = sorted(path.stem for path in (plan.work / "pool").iterdir())
  if arm == RANDOM:
    key = np.array([seed, _PHILOX_KEY], np.uint64)
    bits = np.random.Philox(key=key).random_raw(len(pool))
    return [pool[i] for i in np.argsort(bits, kind="stable")[: plan.count]]
  out = plan.work / f"labels/{seed}_{arm}"
  if not (out / "first").exists():
    run(
      [
        sys.executable,
        "-m",
        "u2pl_jax.tools.autolabel",
        f"--workdir={_workdir(plan, seed, FIRST)}",
        f"--images={plan.work / 'pool'}",
        f"--out={out}",
        f"--top={plan.count}",
        f"--rank_by={arm}",
      ]
    )
  with open(out / "ranking.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  return [pathlib.Path(row["image"]).stem for row in rows[: plan.count]]


def annotate(
  plan: Plan, seed: int, arm: str, chosen: Sequence[str], run: Run
) -> None:
  """Adds the true masks of the chosen images to the first dataset."""
  if not chosen:
    return
  root = plan.work / f"corrected/{seed}_{arm}"
  shutil.rmtree(root, ignore_errors=True)
  (root / "masks").mkdir(parents=True)
  _link(root / "classes.json", plan.root / "classes.json")
  for example_id in chosen:
    mask = plan.mask_of(example_id)
    _link(root / "masks" / mask.name, mask)
  flags = [f"--root={root}", f"--add_to={_DATASET}"]
  _prepare(plan, flags, _name(seed, arm), run)


def _append(
  plan: Plan,
  seed: int,
  arm: str,
  chosen: Sequence[str],
  out: pathlib.Path,
) -> None:
  """Adds the line of a run."""
  path = _workdir(plan, seed, arm) / "result.json"
  result = json.loads(path.read_text())
  record = {
    "seed": seed,
    "arm": arm,
    "chosen": list(chosen),
    "pixels": count_pixels(map(plan.mask_of, chosen)),
  }
  keys = "miou", "best_miou", "iou", "step", "seconds", "protocol"
  record |= {key: result[key] for key in keys}
  record["flags"] = list(plan.flags)
  records.append(records.describe_machine() | record, out)


def count_pixels(masks: Iterator[pathlib.Path]) -> dict[str, int]:
  """How many pixels of each value masks hold, by the value."""
  counts = np.zeros(256, np.int64)
  for path in masks:
    with Image.open(path) as image:
      counts += np.bincount(np.asarray(image).ravel(), minlength=256)
  return {str(i): int(counts[i]) for i in np.flatnonzero(counts)}


if __name__ == "__main__":
  sys.exit(main())
