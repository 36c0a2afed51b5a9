"""Drawing splits: every class in them, nested, and whole or not at all."""

import errno
import itertools
import os
import shutil

import numpy as np
import pytest

from data_prep import folder, make_splits, split_order, writer
from tests import voc_tree
from u2pl_jax.data import datasets


@pytest.fixture
def dataset(tmp_path):
  """Twelve masks of one or two classes of three, and three bare images."""
  tree = voc_tree.write(tmp_path / "tree", num_train=12, num_unmasked=3)
  for i in range(12):
    mask = np.zeros_like(voc_tree.draw_mask(f"train_{i}"))
    mask[0] = {5: 1, 7: 2, 9: 2}.get(i, 255)
    voc_tree.write_mask(tree, f"train_{i}", mask)
  folder.prepare(tree, name="toy", data_dir=tmp_path / "data")
  return datasets.open_dataset("toy", tmp_path / "data")


def run(dataset, *options):
  data_dir = dataset.path.parents[1]
  return make_splits.main(["--name=toy", f"--data_dir={data_dir}", *options])


def fail(capsys, dataset, *options):
  """Returns the error message of a run that must leave all as it was."""
  before = snapshot(dataset)
  assert run(dataset, *options) == 1
  assert snapshot(dataset) == before
  message = capsys.readouterr().err
  return message[message.index("error: ") :]


def snapshot(dataset):
  top = dataset.path.parent
  return {p: p.read_bytes() for p in top.rglob("*") if p.is_file()}


def draw_presence(seed, num_images, num_classes):
  rng = np.random.default_rng(seed)
  return rng.random((num_images, num_classes)) < rng.uniform(0.1, 0.5)


def smallest_cover(presence):
  """Size of the smallest set of images that shows all classes, by trying."""
  wanted = presence.any(axis=0)
  for size in range(len(presence) + 1):
    for images in itertools.combinations(range(len(presence)), size):
      if (presence[list(images)].any(axis=0) == wanted).all():
        return size


@pytest.mark.parametrize("seed", range(20))
def test_order_starts_with_a_smallest_cover(seed):
  presence = draw_presence(seed, num_images=11, num_classes=2 + seed % 6)
  order, size = split_order.draw_order(presence, seed)
  assert sorted(order) == list(range(11))
  assert size == smallest_cover(presence)
  shown = presence[order[:size]].any(axis=0)
  np.testing.assert_array_equal(shown, presence.any(axis=0))


def test_smallest_cover_is_found_where_greedy_choice_fails():
  # Taking the image of four classes first would need three.
  presence = np.zeros((3, 6), bool)
  presence[0, :4] = presence[1, [0, 1, 4]] = presence[2, [2, 3, 5]] = True
  order, size = split_order.draw_order(presence, seed=0)
  assert size == 2 and set(order[:2]) == {1, 2}


def test_order_is_a_function_of_the_seed():
  presence = draw_presence(0, num_images=200, num_classes=8)
  orders = [tuple(split_order.draw_order(presence, s)[0]) for s in (0, 0, 1)]
  assert orders[0] == orders[1] != orders[2]
  # Fixed for ever, so that a seed is enough to draw a split again.
  assert orders[0][:8] == (157, 165, 131, 129, 64, 14, 132, 13)


def test_images_beyond_the_cover_are_drawn_evenly():
  presence = np.ones((20, 1), bool)
  first = [split_order.draw_order(presence, s)[0][:5] for s in range(400)]
  counts = np.bincount(np.concatenate(first), minlength=20)
  # Each is in a quarter of the draws, give or take four deviations.
  assert (np.abs(counts - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)).all()


def test_smallest_covers_take_turns():
  presence = np.repeat(np.eye(2, dtype=bool), 10, axis=0)
  covers = {tuple(split_order.draw_order(presence, s)[0][:2]) for s in range(9)}
  assert len(covers) > 5


def test_images_without_any_class_need_no_cover():
  order, size = split_order.draw_order(np.zeros((3, 2), bool), seed=0)
  assert size == 0 and sorted(order) == [0, 1, 2]


def test_a_search_cut_short_still_shows_every_class(monkeypatch):
  rng = np.random.default_rng(0)
  presence = rng.random((300, 30)) < np.geomspace(0.7, 0.01, 30)
  sizes = []
  for nodes in (1, split_order._MAX_NODES):
    monkeypatch.setattr(split_order, "_MAX_NODES", nodes)
    order, size = split_order.draw_order(presence, seed=0)
    assert presence[order[:size]].any(axis=0).all()
    sizes.append(size)
  assert sizes[1] <= sizes[0] <= 12


@pytest.mark.parametrize(
  "text, total, expected",
  [
    ("0.125", 367, ("1_8", 46)),
    ("1/8", 426, ("1_8", 53)),
    ("1/16", 426, ("1_16", 27)),
    ("1/4", 426, ("1_4", 107)),
    ("0.5", 5, ("1_2", 3)),
    ("0.3", 10, ("3_10", 3)),
    ("1.0", 10, ("1_1", 10)),
    ("53", 53, ("53", 53)),
    ("1", 53, ("1", 1)),
  ],
)
def test_amounts_are_shares_or_counts(text, total, expected):
  assert make_splits.parse_amount(text, total) == expected


@pytest.mark.parametrize(
  "text", ["", "x", "0", "-1", "0.0", "1.5", "11", "0.01", "1/0", "nan", "inf"]
)
def test_impossible_amounts_are_refused(text):
  with pytest.raises(ValueError, match=f"--labeled={text}: must"):
    make_splits.parse_amount(text, total=10)


def test_splits_are_added_nested_and_show_every_class(dataset, capsys):
  assert run(dataset, "--labeled=0.75", "--labeled=2", "--labeled=4") == 0
  assert datasets.list_splits(dataset) == ["2", "3_4", "4", "few"]
  splits = [datasets.read_split(dataset, s) for s in ("2", "4", "3_4")]
  assert [len(split.labeled) for split in splits] == [2, 4, 9]
  smaller = set()
  for split in splits:
    labeled = set(split.labeled)
    assert smaller < labeled and 5 in labeled and labeled & {7, 9}
    assert labeled | set(split.unlabeled) == set(range(15))
    smaller = labeled
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["all", "masks", "2", "4", "3_4"] in rows
  assert ["labeled", "images", "12", "2", "4", "9"] in rows
  assert ["unlabeled", "images", "13", "11", "6"] in rows
  assert ["1", "thing", "1", "1", "1", "1"] in rows


def test_splits_of_separate_runs_are_nested_too(dataset):
  for count in (8, 3, 5):
    assert run(dataset, f"--labeled={count}", "--seed=4") == 0
  labeled = [
    set(datasets.read_split(dataset, f"{count}_seed4").labeled)
    for count in (3, 5, 8)
  ]
  assert labeled[0] < labeled[1] < labeled[2]


def test_prefix_and_repetition(dataset):
  assert run(dataset, "--labeled=6", "--prefix=mine_") == 0
  before = snapshot(dataset)
  assert run(dataset, "--labeled=6", "--prefix=mine_") == 0
  assert snapshot(dataset) == before
  assert "mine_6" in datasets.list_splits(dataset)


def test_too_few_images_are_refused_with_the_least_number(dataset, capsys):
  message = fail(capsys, dataset, "--labeled=5", "--labeled=1")
  assert "1 labeled images cannot show every class; 2 is the least" in message
  assert "would lack" in message and "thing" in message or "sky" in message


@pytest.mark.parametrize(
  "options, message",
  [
    (["--labeled=13"], "must come to 1 to 12 images"),
    (["--labeled=4", "--labeled=4"], "the split 4 is given twice"),
    (["--labeled=4", "--seed=-1"], "seed -1 must not be negative"),
    (["--labeled=4", "--prefix=../"], "prefix '../' must hold"),
  ],
)
def test_bad_arguments_are_refused(dataset, capsys, options, message):
  assert message in fail(capsys, dataset, *options)


def test_labelling_everything_is_refused(tmp_path, capsys):
  tree = voc_tree.write(tmp_path / "tree", num_unmasked=0)
  folder.prepare(tree, name="toy", data_dir=tmp_path / "data")
  dataset = datasets.open_dataset("toy", tmp_path / "data")
  assert "leave none unlabeled" in fail(capsys, dataset, "--labeled=1.0")


def test_another_split_of_the_name_is_kept(dataset, capsys):
  lists = dataset.path / "lists"
  (lists / "few").rename(lists / "4")
  message = fail(capsys, dataset, "--labeled=3", "--labeled=4")
  assert "lists/4 exists and holds other images" in message


def test_missing_dataset_is_named(tmp_path, capsys):
  arguments = ["--name=toy", f"--data_dir={tmp_path}", "--labeled=1"]
  assert make_splits.main(arguments) == 1
  assert "no prepared dataset 'toy'" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "owner, name, count",
  [(writer, "write_lists", 1), (os, "rename", 1), (os, "rename", 2)],
)
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_interrupted_anywhere_only_whole_splits_are_there(
  dataset, monkeypatch, owner, name, count, killed
):
  original = getattr(owner, name)
  calls = []

  def stop(*args):
    calls.append(name)
    if len(calls) == count:
      raise KeyboardInterrupt
    return original(*args)

  options = ("--labeled=3", "--labeled=6")
  with monkeypatch.context() as patch:
    patch.setattr(owner, name, stop)
    if killed:  # Then nothing is cleaned up.
      patch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert run(dataset, *options) == 130
  splits = datasets.list_splits(dataset)
  assert splits == ["3", "few"][2 - count :]
  for split in splits:
    datasets.read_split(dataset, split)
  assert run(dataset, *options) == 0
  assert datasets.list_splits(dataset) == ["3", "6", "few"]
  assert [p.name for p in dataset.path.parent.iterdir()] == ["1.0.0"]


def test_full_disk_leaves_the_dataset_as_it_was(dataset, capsys, monkeypatch):
  def fill(_, path):
    (path / "3").mkdir()
    (path / "3" / "labeled.txt").write_text("train_")
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(writer, "write_lists", fill)
    assert "No space left" in fail(capsys, dataset, "--labeled=3")
  assert run(dataset, "--labeled=3") == 0


def test_without_amounts_splits_are_checked_and_shown(dataset, capsys):
  assert run(dataset) == 0
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["in", "neither", "list", "0"] in rows
  lists = dataset.path / "lists" / "few"
  (lists / "unlabeled.txt").write_bytes(b"train_3\r\ntrain_4")
  assert run(dataset) == 0
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["in", "neither", "list", "11"] in rows
  (lists / "labeled.txt").write_text("train_3\nnobody\nunmasked_0\n")
  message = fail(capsys, dataset)
  for part in (
    "3 problems",
    "'nobody' is not among",
    "'train_3' is both in",
    "'unmasked_0' has no mask",
  ):
    assert part in message
