"""Which splits of an old dataset a new one keeps."""

import pytest

from data_prep import kept_splits, writer

IDS = ("a", "b", "c", "d")
HAS_LABEL = (True, True, False, True)


@pytest.fixture
def find(tmp_path):
  def find(old, new=None):
    writer.write_lists(old, tmp_path / "lists")
    return kept_splits.find(
      tmp_path / "lists", new or {}, ids=IDS, has_label=HAS_LABEL
    )

  return find


def test_splits_whose_images_are_all_there_are_kept(find):
  lists = {"1_2": (["a"], ["b", "c"]), "1": (["b"], ["a"])}
  kept, notes = find(lists)
  assert kept == lists
  assert notes == ["split 1: kept", "split 1_2: kept"]


@pytest.mark.parametrize(
  "lists, reason",
  [
    ((["a", "z"], ["b"]), "id 'z' is not among the training images"),
    (
      (["a"], ["b", "y", "z"]),
      "id 'y' is not among the training images, and 1",
    ),
    ((["c"], ["b"]), "id 'c' has no mask"),
    ((["a"], []), "the list is empty"),
  ],
  ids=["labeled", "unlabeled", "mask", "empty"],
)
def test_others_are_named_with_the_reason(find, lists, reason):
  kept, notes = find({"old": lists, "good": (["a"], ["b"])})
  assert list(kept) == ["good"] and len(notes) == 2
  assert notes[1].startswith("split old: not kept, does not fit any more (old/")
  assert reason in notes[1]


def test_splits_of_the_source_replace_those_of_their_name(find):
  new = {"same": (["a"], ["b"]), "other": (["a"], ["b"])}
  kept, notes = find({"same": (["a"], ["b"]), "other": (["b"], ["a"])}, new)
  assert kept == {}
  assert notes == ["split other: replaced by the source's, which differs"]


def test_what_is_no_split_is_named(find, tmp_path):
  (tmp_path / "lists/odd").mkdir(parents=True)
  kept, notes = find({})
  assert kept == {} and "odd: not kept" in notes[0] and "no such" in notes[0]


def test_without_an_old_dataset_there_is_nothing_to_keep(tmp_path):
  found = kept_splits.find(tmp_path / "x", {}, ids=IDS, has_label=HAS_LABEL)
  assert found == ({}, [])
