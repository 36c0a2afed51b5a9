"""Opening prepared datasets, and the checks on semi-supervised splits."""

import dataclasses
import json
import pathlib
import shutil

import pytest

from data_prep import folder
from tests import voc_tree
from u2pl_jax.data import datasets


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  tmp_path = tmp_path_factory.mktemp("prepared")
  tree = voc_tree.write(tmp_path / "tree")
  folder.prepare(tree, name="toy", data_dir=tmp_path / "data")
  return tmp_path / "data"


@pytest.fixture
def lists(prepared, tmp_path):
  """The lists of a split, in a copy of the dataset that a test may change."""
  data_dir = tmp_path / "data"
  shutil.copytree(prepared, data_dir)
  return datasets.dataset_path("toy", data_dir) / "lists" / "few"


def read_changed_split(lists: pathlib.Path):
  data_dir = lists.parents[3]
  return datasets.read_split(datasets.open_dataset("toy", data_dir), "few")


def test_open_dataset_reads_what_was_prepared(prepared):
  dataset = datasets.open_dataset("toy", str(prepared))
  assert dataset.class_names == voc_tree.CLASS_NAMES
  assert dataset.num_classes == 3
  assert dataset.palette == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
  assert dataset.ignore_label == 255
  assert dataset.ids["val"] == ("val_0", "val_1", "val_2")
  assert dataset.has_label["train"] == (True,) * 6 + (False,) * 3
  assert all(pathlib.Path(file).is_file() for file in dataset.files["train"])


@pytest.mark.parametrize(
  "name, command",
  [
    ("camvid", "python -m data_prep.folder --root=TREE --name=camvid"),
    ("synthetic", "python -m data_prep.synthetic --data_dir="),
    ("voc", "python -m data_prep.voc --root=VOCtrainval_11-May-2012.tar"),
    ("cityscapes", "python -m data_prep.cityscapes --root="),
  ],
)
def test_missing_dataset_says_how_to_make_it(tmp_path, name, command):
  with pytest.raises(FileNotFoundError) as error:
    datasets.open_dataset(name, tmp_path)
  assert name in str(error.value) and command in str(error.value)
  assert "\n" not in str(error.value)


def test_foreign_dataset_is_refused(lists):
  (lists.parents[1] / "metadata.json").write_text("{}")
  with pytest.raises(ValueError, match="was not written by data_prep"):
    read_changed_split(lists)


def test_read_split_gives_records_of_train(prepared):
  dataset = datasets.open_dataset("toy", prepared)
  split = datasets.read_split(dataset, "few")
  ids = dataset.ids["train"]
  assert [ids[i] for i in split.labeled] == ["train_0", "train_1"]
  assert [ids[i] for i in split.unlabeled[-3:]] == [
    "unmasked_0",
    "unmasked_1",
    "unmasked_2",
  ]
  assert split.labeled.dtype == split.unlabeled.dtype == "int64"
  assert len(split.unlabeled) == 7 and split.name == "few"


def test_the_fingerprint_tells_names_classes_and_lists_apart(prepared):
  dataset = datasets.open_dataset("toy", prepared)
  split = datasets.read_split(dataset, "few")
  same = datasets.fingerprint(dataset, split)
  assert same == json.loads(json.dumps(same))
  assert same == datasets.fingerprint(dataset, split)

  def changed(dataset=dataset, split=split):
    other = datasets.fingerprint(dataset, split)
    return [key for key in same | other if same.get(key) != other.get(key)]

  replace = dataclasses.replace
  names = (*dataset.class_names[:-1], "new")
  assert changed(replace(dataset, name="other")) == ["dataset"]
  assert changed(replace(dataset, class_names=names)) == ["classes"]
  more = (*dataset.class_names, "new")
  assert changed(replace(dataset, class_names=more)) == ["classes"]
  meaning = dict(dataset.parameters) | {"class_map": {"7": "thing"}}
  assert changed(replace(dataset, parameters=meaning)) == ["class map"]
  ids = {**dataset.ids, "val": dataset.ids["val"][1:]}
  assert changed(replace(dataset, ids=ids)) == ["validation ids"]
  contents = {"train": "one digest", "val": "another"}
  assert changed(replace(dataset, contents=contents)) == [
    "training contents",
    "validation contents",
  ]
  backwards = replace(split, labeled=split.labeled[::-1])
  assert changed(split=backwards) == ["labeled ids"]
  fewer = replace(split, unlabeled=split.unlabeled[1:])
  assert changed(split=fewer) == ["unlabeled ids"]


def test_unknown_split_names_those_available(lists):
  shutil.copytree(lists, lists.with_name("many"))
  dataset = datasets.open_dataset("toy", lists.parents[3])
  with pytest.raises(ValueError, match="no split '1_8'; it has few, many"):
    datasets.read_split(dataset, "1_8")


def test_id_in_both_lists_names_id_and_files(lists):
  voc_tree.append(lists / "unlabeled.txt", "train_1\n")
  with pytest.raises(ValueError) as error:
    read_changed_split(lists)
  for part in ("'train_1'", "few/labeled.txt", "few/unlabeled.txt"):
    assert part in str(error.value)


@pytest.mark.parametrize(
  "file, text, message",
  [
    ("labeled.txt", "train_0\n", "labeled.txt: id 'train_0' occurs 2 times"),
    ("unlabeled.txt", "nobody\n", "id 'nobody' is not among the training"),
    ("unlabeled.txt", "val_0\n", "id 'val_0' is not among the training"),
  ],
)
def test_faulty_list_is_refused(lists, file, text, message):
  voc_tree.append(lists / file, text)
  with pytest.raises(ValueError, match=message):
    read_changed_split(lists)


def test_labeled_id_without_mask_is_refused(lists):
  voc_tree.write_list(lists / "labeled.txt", ["train_0", "unmasked_0"])
  voc_tree.write_list(lists / "unlabeled.txt", ["train_2"])
  with pytest.raises(ValueError, match="id 'unmasked_0' has no mask"):
    read_changed_split(lists)


@pytest.mark.parametrize("file", ["labeled.txt", "unlabeled.txt"])
def test_empty_list_is_refused(lists, file):
  (lists / file).write_text("\n\n")
  with pytest.raises(ValueError, match=f"{file}: the list is empty"):
    read_changed_split(lists)


def test_several_problems_are_counted_in_one_line(lists):
  voc_tree.append(lists / "unlabeled.txt", "nobody\nnothing\n")
  with pytest.raises(ValueError, match=r"'nobody'.*\(and 1 more\)"):
    read_changed_split(lists)


@pytest.mark.parametrize(
  "content",
  [
    b"a b\n\xc3\xa9t\xc3\xa9\n",
    b"a b\r\n\xc3\xa9t\xc3\xa9\r\n",
    b"\xef\xbb\xbfa b  \n\n  \n\xc3\xa9t\xc3\xa9",
  ],
  ids=["unix", "windows", "sloppy"],
)
def test_id_lists_are_read_leniently(tmp_path, content):
  (tmp_path / "list.txt").write_bytes(content)
  assert datasets.read_id_list(tmp_path / "list.txt") == ["a b", "été"]


def test_list_that_is_no_text_is_refused(tmp_path):
  (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match="list.txt: not a UTF-8 text file"):
    datasets.read_id_list(tmp_path / "list.txt")
  with pytest.raises(FileNotFoundError, match="none.txt: no such list"):
    datasets.read_id_list(tmp_path / "none.txt")
