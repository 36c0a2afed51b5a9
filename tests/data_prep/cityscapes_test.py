"""Cityscapes: folders and zip files, masks of three kinds, what is missing."""

import json
import pathlib
import sys
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import cityscapes, split_lists
from tests import samples
from u2pl_jax.data import cityscapes_labels, datasets

TRAIN_IDS = np.uint8(
  [255] * 7
  + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11]
  + [12, 13, 14, 15, 255, 255, 16, 17, 18]
)
TRAIN = ("aachen_000000_000019", "aachen_000001_000019", "ulm_000002_000019")
VAL = ("frankfurt_000000_000294",)
SHAPE = (20, 34)
LABEL_IDS = np.arange(20 * 34, dtype=np.uint8).reshape(SHAPE) % 34


def part_path(frame):
  part = "val" if frame in VAL else "train"
  return f"{part}/{frame.partition('_')[0]}/{frame}"


def image_file(tree, frame):
  return tree / "leftImg8bit" / f"{part_path(frame)}_leftImg8bit.png"


def mask_file(tree, frame, ending="labelIds.png"):
  return tree / "gtFine" / f"{part_path(frame)}_gtFine_{ending}"


def save(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  if isinstance(content, np.ndarray):
    Image.fromarray(content).save(path)
  else:
    path.write_text(content)


def write_list(name, frames):
  paths = [f"leftImg8bit/{part_path(f)}_leftImg8bit.png" for f in frames]
  path = split_lists.FOLDERS["cityscapes"] / f"{name}.txt"
  save(path, "\n".join(paths))


def label_ids(frame):
  return np.roll(LABEL_IDS, (TRAIN + VAL).index(frame), axis=1)


@pytest.fixture
def tree(tmp_path, monkeypatch):
  """A small Cityscapes, and lists that ask for it."""
  tree = tmp_path / "cityscapes"
  for i, frame in enumerate(TRAIN + VAL):
    save(image_file(tree, frame), np.full((*SHAPE, 3), i, np.uint8))
    save(mask_file(tree, frame), label_ids(frame))
    save(mask_file(tree, frame, "instanceIds.png"), np.zeros(SHAPE, np.uint16))
    save(mask_file(tree, frame, "color.png"), np.zeros((*SHAPE, 4), np.uint8))
  monkeypatch.setitem(split_lists.FOLDERS, "cityscapes", tmp_path / "lists")
  write_list("val", VAL)
  write_list("1/labeled", TRAIN[:1])
  write_list("1/unlabeled", TRAIN[1:])
  write_list("2/labeled", TRAIN[1:])
  write_list("2/unlabeled", TRAIN[:1])
  return tree


@pytest.fixture
def data_dir(tmp_path):
  return tmp_path / "data"


def arguments(tree, data_dir, *options):
  return [f"--root={tree}", f"--data_dir={data_dir}", *options]


def prepare(tree, data_dir, *options):
  assert cityscapes.main(arguments(tree, data_dir, *options)) == 0
  return datasets.open_dataset("cityscapes", data_dir)


def fail(capsys, tree, data_dir, *options):
  """Returns the error message of a run that must fail."""
  assert cityscapes.main(arguments(tree, data_dir, *options)) == 1
  assert not data_dir.exists() or not list(data_dir.iterdir())
  message = capsys.readouterr().err
  return message[message.index("error: ") :]


def read_masks(dataset, split="train"):
  rows = tfds.builder_from_directory(dataset.path).as_data_source(split)
  return {row["id"].decode(): row["label"][..., 0] for row in rows}


def test_table_is_the_official_one():
  ids = np.arange(34, dtype=np.uint8)
  np.testing.assert_array_equal(cityscapes_labels.to_train_ids(ids), TRAIN_IDS)
  assert len(cityscapes_labels.LABELS) == 35
  assert len(cityscapes_labels.CLASS_NAMES) == 19
  assert cityscapes_labels.CLASS_NAMES[13] == "car"
  assert cityscapes_labels.PALETTE[13] == (0, 0, 142)


def test_table_is_that_of_the_official_package():
  labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
  ours = cityscapes_labels.LABELS[:-1]
  assert [(x.name, x.id, x.trainId, x.color) for x in labels[:-1]] == [*ours]
  assert labels[-1].id == cityscapes_labels.LABELS[-1][1] == -1


def test_label_ids_become_19_classes(tree, data_dir, capsys):
  dataset = prepare(tree, data_dir)
  assert dataset.ids == {"train": TRAIN, "val": VAL}
  assert dataset.class_names == cityscapes_labels.CLASS_NAMES
  masks = read_masks(dataset) | read_masks(dataset, "val")
  for frame in TRAIN + VAL:
    expected = TRAIN_IDS[label_ids(frame)]
    np.testing.assert_array_equal(masks[frame], expected)
  split = datasets.read_split(dataset, "2")
  assert split.labeled.tolist() == [1, 2] and split.unlabeled.tolist() == [0]
  output = capsys.readouterr().out
  assert "ignored (255)" in output and "masks: 4 from labelIds" in output


def test_train_ids_are_read_where_present(tree, data_dir):
  given = np.full(SHAPE, 18, np.uint8)
  save(mask_file(tree, TRAIN[1], "labelTrainIds.png"), given)
  mask_file(tree, TRAIN[1]).unlink()
  save(mask_file(tree, TRAIN[2], "labelTrainIds.png"), given)
  dataset = prepare(tree, data_dir)
  assert dataset.parameters["masks"] == {"labelIds": 2, "trainIds": 2}
  masks = read_masks(dataset)
  np.testing.assert_array_equal(masks[TRAIN[1]], given)
  np.testing.assert_array_equal(masks[TRAIN[2]], given)
  np.testing.assert_array_equal(masks[TRAIN[0]], TRAIN_IDS[label_ids(TRAIN[0])])


def test_kind_of_masks_can_be_asked_for(tree, data_dir, capsys):
  for frame in TRAIN + VAL:
    ids = np.zeros(SHAPE, np.uint8)
    save(mask_file(tree, frame, "labelTrainIds.png"), ids)
  message = fail(capsys, tree, data_dir, "--labels=polygons")
  assert "3 of 3 train masks are missing" in message
  dataset = prepare(tree, data_dir, "--labels=labelIds")
  assert dataset.parameters["masks"] == {"labelIds": 4}


def pack(tree, part):
  """Puts a folder into its official zip file; returns that."""
  file = tree / f"{part}_trainvaltest.zip"
  with zipfile.ZipFile(file, "w") as archive:
    archive.writestr("README", "read me")
    archive.writestr("license.txt", "a license")
    archive.writestr(f"{part}/test/berlin/berlin_000000_000019_x.png", b"")
    for path in sorted((tree / part).rglob("*.*")):
      archive.write(path, path.relative_to(tree))
  (tree / part).rename(tree / f"old_{part}")
  return file


def test_zip_files_give_the_same_dataset_as_folders(tree, data_dir):
  before = prepare(tree, data_dir)
  pack(tree, "gtFine")  # Images in a folder, masks in a zip file.
  for data in (data_dir / "mixed", data_dir / "zips"):
    after = prepare(tree, data)
    for old, new in zip(before.files["train"], after.files["train"]):
      assert pathlib.Path(old).read_bytes() == pathlib.Path(new).read_bytes()
    assert after.ids == before.ids
    if (tree / "leftImg8bit").exists():
      pack(tree, "leftImg8bit")


def test_zip_files_may_be_unpacked_into_folders_of_their_names(tree, data_dir):
  for part in ("leftImg8bit", "gtFine"):
    whole = tree / f"{part}_trainvaltest"
    whole.mkdir()
    (tree / part).rename(whole / part)
  assert prepare(tree, data_dir).ids["train"] == TRAIN


def test_all_that_is_missing_is_told(tree, data_dir, capsys):
  image_file(tree, TRAIN[0]).unlink()
  mask_file(tree, TRAIN[2]).unlink()
  mask_file(tree, VAL[0]).unlink()
  message = fail(capsys, tree, data_dir)
  assert message.startswith("error: 3 problems:")
  assert f"1 of 3 train images are missing: {TRAIN[0]}\n" in message
  assert f"1 of 3 train masks are missing: {TRAIN[2]}\n" in message
  assert f"1 of 1 val masks are missing: {VAL[0]}; --partial" in message


def test_many_missing_frames_are_counted_by_city():
  frames = [f"{c}_00000{i}_000019" for c in ("bonn", "ulm") for i in range(9)]
  text = cityscapes._describe(frames[2:], frames)
  assert text == "bonn 7 of 9, ulm all 9"


def test_partial_copy_gives_what_is_there(tree, data_dir, capsys):
  image_file(tree, TRAIN[0]).unlink()
  write_list("2/labeled", TRAIN[:2])
  write_list("2/unlabeled", TRAIN[2:])
  dataset = prepare(tree, data_dir, "--partial")
  assert dataset.ids == {"train": TRAIN[1:], "val": VAL}
  assert datasets.list_splits(dataset) == ["2"]
  assert datasets.read_split(dataset, "2").labeled.tolist() == [0]
  assert "split 1: left out, no labeled frame" in capsys.readouterr().out


def test_too_little_for_any_split_is_refused(tree, data_dir, capsys):
  for frame in TRAIN[:2]:
    mask_file(tree, frame).unlink()
  message = fail(capsys, tree, data_dir, "--partial")
  assert message == "error: too few frames are there for any split\n"


@pytest.mark.parametrize("part", ["leftImg8bit", "gtFine", ""])
def test_missing_half_is_named(tree, data_dir, capsys, part):
  (tree / part).rename(tree.parent / "elsewhere")
  message = fail(capsys, tree, data_dir)
  assert message.count("\n") == 1
  assert f"neither {part}_trainvaltest.zip" in message or not part


def test_frame_that_is_there_twice_is_refused(tree, data_dir, capsys):
  twin = (
    tree
    / "gtFine/copy"
    / mask_file(tree, TRAIN[0]).relative_to(tree / "gtFine")
  )
  save(twin, label_ids(TRAIN[0]))
  assert f"{TRAIN[0]} is both in" in fail(capsys, tree, data_dir)


def test_faulty_masks_are_named_together(tree, data_dir, capsys):
  wrong = label_ids(TRAIN[0])
  wrong[0, :3] = 34
  save(mask_file(tree, TRAIN[0]), wrong)
  save(mask_file(tree, TRAIN[1]), np.zeros((*SHAPE, 3), np.uint8))
  mask_file(tree, TRAIN[2]).write_bytes(b"")
  wrong = np.full(SHAPE, 19, np.uint8)
  save(mask_file(tree, VAL[0], "labelTrainIds.png"), wrong)
  message = fail(capsys, tree, data_dir)
  for part in (
    "error: 4 problems:",
    f"{TRAIN[0]}_gtFine_labelIds.png: 3 pixels of ids that Cityscapes does",
    f"{TRAIN[1]}_gtFine_labelIds.png: pixels of mode RGB, must be L",
    f"{TRAIN[2]}_gtFine_labelIds.png: the file is empty",
    f"{VAL[0]}_gtFine_labelTrainIds.png: label value 19 (680 pixels)",
  ):
    assert part in message


def polygons_of(*objects, height=20):
  shapes = [
    {"label": label, "polygon": [[x, 0], [x, 19], [x + 3, 19], [x + 3, 0]]}
    for label, x in objects
  ]
  return json.dumps({"imgHeight": height, "imgWidth": 34, "objects": shapes})


def replace_masks_by_polygons(tree, text):
  for frame in TRAIN + VAL:
    mask_file(tree, frame).unlink()
    save(mask_file(tree, frame, "polygons.json"), text)


def test_polygons_are_drawn_in_their_order(tree, data_dir):
  pytest.importorskip("cityscapesscripts")
  text = polygons_of(("road", 0), ("cargroup", 2), ("license plate", 5))
  replace_masks_by_polygons(tree, text)
  dataset = prepare(tree, data_dir)
  expected = np.full(SHAPE, 255, np.uint8)
  expected[:, :2], expected[:, 2:6] = 0, 13
  np.testing.assert_array_equal(read_masks(dataset)[TRAIN[0]], expected)


def test_faulty_polygons_are_named_together(tree, data_dir, capsys):
  pytest.importorskip("cityscapesscripts")
  replace_masks_by_polygons(tree, polygons_of(("road", 0)))
  for frame, text in zip(
    TRAIN + VAL,
    (
      '{"imgHeight": 20}',
      polygons_of(("dragon", 0)),
      polygons_of(("road", 0), height=21),
      "{",
    ),
  ):
    save(mask_file(tree, frame, "polygons.json"), text)
  message = fail(capsys, tree, data_dir)
  for part in (
    "error: 4 problems:",
    f"{TRAIN[0]}_gtFine_polygons.json: not polygons of Cityscapes (KeyError",
    f"{TRAIN[1]}_gtFine_polygons.json: label 'dragon' is none of Cityscapes",
    f"{TRAIN[2]}_gtFine_polygons.json: 34x21 pixels, but its image",
    f"{VAL[0]}_gtFine_polygons.json: not polygons of Cityscapes",
  ):
    assert part in message


def test_missing_package_is_told_in_one_line(
  tree, data_dir, capsys, monkeypatch
):
  replace_masks_by_polygons(tree, polygons_of(("road", 0)))
  monkeypatch.setitem(sys.modules, "cityscapesscripts.preparation", None)
  message = fail(capsys, tree, data_dir)
  assert "pip install cityscapesscripts" in message
  assert message.count("\n") == 1


@samples.needed
def test_genuine_label_ids_equal_the_official_table(data_dir):
  options = ("--partial", "--labels=labelIds")
  dataset = prepare(samples.CITYSCAPES, data_dir, *options)
  assert len(dataset.ids["train"]) == 5
  masks = read_masks(dataset)
  for frame in dataset.ids["train"]:
    given = Image.open(mask_file(samples.CITYSCAPES, frame))
    expected = TRAIN_IDS[np.asarray(given)]
    np.testing.assert_array_equal(masks[frame], expected)


@samples.needed
def test_genuine_train_ids_are_kept(data_dir):
  dataset = prepare(samples.CITYSCAPES, data_dir, "--partial")
  assert dataset.parameters["masks"] == {"trainIds": 5}
  for frame, mask in read_masks(dataset).items():
    path = mask_file(samples.CITYSCAPES, frame, "labelTrainIds.png")
    np.testing.assert_array_equal(mask, np.asarray(Image.open(path)))


@samples.needed
def test_genuine_polygons_agree_with_label_ids(data_dir):
  pytest.importorskip("cityscapesscripts")
  options = ("--partial", "--labels=polygons")
  dataset = prepare(samples.CITYSCAPES, data_dir, *options)
  agree = []  # Borders of objects are a pixel off.
  for frame, mask in read_masks(dataset).items():
    given = Image.open(mask_file(samples.CITYSCAPES, frame))
    agree.append((mask == TRAIN_IDS[np.asarray(given)]).mean())
  assert len(agree) == 5 and np.mean(agree) >= 0.995 and min(agree) >= 0.994
