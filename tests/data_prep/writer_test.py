"""Writing a dataset: all or nothing, and in TFDS's own form."""

import io
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import examples, writer
from tests import picture_files
from u2pl_jax.data import datasets

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
MASK = np.uint8([[0, 0, 0, 1, 255]] * 4)


def make_raw(example_id, pixels=PIXELS, mask=MASK, **options):
  def to_file(what, array, **options):
    content = picture_files.encode(array, **options)
    return examples.File(f"{example_id}.{what}", lambda: content)

  image = to_file("image", pixels, **options)
  label = None if mask is None else examples.id_mask(to_file("mask", mask))
  return examples.RawExample(example_id, image, label)


def make_source(train=None, **changes):
  train = train or [make_raw("b"), make_raw("a"), make_raw("c", mask=None)]
  fields = {
    "class_names": ("ground", "thing"),
    "palette": ((0, 0, 0), (1, 2, 3)),
    "examples": {"train": train, "val": [make_raw("v")]},
    "split_lists": {"1": (["b"], ["a", "c"])},
    "parameters": {"source": "test"},
  }
  return writer.Source(**(fields | changes))


def write(tmp_path, source, **options):
  with writer.preparation_lock(tmp_path):
    return writer.write_dataset(
      source, name="toy", data_dir=tmp_path, **options
    )


def list_files(folder):
  return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_tfds_reads_what_was_written_in_order(tmp_path):
  path = write(tmp_path, make_source())
  assert path == datasets.dataset_path("toy", tmp_path)
  builder = tfds.builder_from_directory(path)
  rows = list(builder.as_data_source("train"))
  assert [row["id"] for row in rows] == [b"b", b"a", b"c"]
  assert [bool(row["has_label"]) for row in rows] == [True, True, False]
  np.testing.assert_array_equal(rows[0]["image"], PIXELS)
  np.testing.assert_array_equal(rows[0]["label"][..., 0], MASK)
  assert (rows[2]["label"] == 255).all()
  assert builder.info.metadata["parameters"] == {"source": "test"}


def test_lists_are_written_beside_the_records(tmp_path):
  path = write(tmp_path, make_source())
  assert (path / "lists/1/labeled.txt").read_text() == "b\n"
  assert (path / "lists/1/unlabeled.txt").read_text() == "a\nc\n"


def test_all_faulty_files_are_reported_and_nothing_stays(tmp_path):
  train = [
    make_raw("a"),
    make_raw("b", mask=MASK.T.copy()),
    make_raw("c", mask=MASK + np.uint8(5)),
  ]
  source = make_source(train, problems=("a list is wrong",))
  with pytest.raises(writer.DataError) as error:
    write(tmp_path, source)
  lines = str(error.value).splitlines()
  assert lines[0] == "3 problems:"
  assert [line.split()[0] for line in lines[1:]] == ["a", "b.mask:", "c.mask:"]
  assert list_files(tmp_path) == []


def test_many_problems_are_cut_short(tmp_path):
  problems = [f"problem {i}" for i in range(30)]
  with pytest.raises(writer.DataError) as error:
    write(tmp_path, make_source(problems=problems))
  lines = str(error.value).splitlines()
  assert len(lines) == 22 and lines[-1].strip() == "and 10 more"
  assert error.value.problems == tuple(problems)


def test_no_images_at_all_is_a_problem(tmp_path):
  source = make_source(examples={"train": [], "val": []})
  with pytest.raises(writer.DataError, match="^there are no images at all$"):
    write(tmp_path, source)
  assert list_files(tmp_path) == []


def test_existing_dataset_is_kept_unless_overwrite(tmp_path):
  path = write(tmp_path, make_source())
  before = list_files(tmp_path)
  with pytest.raises(FileExistsError, match="exists; give --overwrite"):
    write(tmp_path, make_source())
  changed = make_source(parameters={"source": "changed"})
  assert write(tmp_path, changed, overwrite=True) == path
  assert list_files(tmp_path) == before
  dataset = datasets.open_dataset("toy", tmp_path)
  assert dataset.parameters == {"source": "changed"}


def test_failed_overwrite_keeps_the_old_dataset(tmp_path):
  write(tmp_path, make_source())
  before = list_files(tmp_path)
  with pytest.raises(writer.DataError):
    write(tmp_path, make_source(problems=["wrong"]), overwrite=True)
  assert list_files(tmp_path) == before
  assert datasets.open_dataset("toy", tmp_path).parameters["source"] == "test"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_old_dataset_outlives_a_failure_to_replace_it(
  tmp_path, monkeypatch, error
):
  path = write(tmp_path, make_source())
  before = list_files(tmp_path)
  rename = writer.os.rename

  def fail_on_the_new_one(source, target):
    if source.name == ".incomplete":
      raise error
    rename(source, target)

  monkeypatch.setattr(writer.os, "rename", fail_on_the_new_one)
  with pytest.raises(error):
    write(tmp_path, make_source(parameters={}), overwrite=True)
  assert list_files(tmp_path) == before
  # Killed between the two renames: the next run brings the old one back.
  rename(path, path.with_name(".replaced"))
  with pytest.raises(FileExistsError):
    write(tmp_path, make_source(parameters={}))
  assert list_files(tmp_path) == before


def test_dataset_without_validation_images_is_written(tmp_path):
  source = make_source()
  source.examples["val"] = []
  write(tmp_path, source)
  assert datasets.open_dataset("toy", tmp_path).ids["val"] == ()


@pytest.mark.parametrize("name", ["", "Toy", "a-b", "a/b", "../a", "1a"])
def test_unusable_names_are_refused(tmp_path, name):
  with pytest.raises(ValueError, match="a small letter, then"):
    writer.check_target(name, tmp_path, overwrite=False)


def test_full_disk_is_an_os_error_and_leaves_nothing(tmp_path, monkeypatch):
  def fail(*_):
    raise RuntimeError("write() failed: No space left on device")

  monkeypatch.setattr(tfds.core.SequentialWriter, "close_all", fail)
  with pytest.raises(OSError, match="cannot be written .*No space left"):
    write(tmp_path, make_source())
  assert list_files(tmp_path) == []


def test_missing_records_are_noticed(tmp_path, monkeypatch):
  add = tfds.core.SequentialWriter.add_examples

  def lose_one(self, rows):
    add(self, {split: examples[1:] for split, examples in rows.items()})

  monkeypatch.setattr(tfds.core.SequentialWriter, "add_examples", lose_one)
  with pytest.raises(OSError, match="2 of 3 train records were written"):
    write(tmp_path, make_source())
  assert list_files(tmp_path) == []


def test_a_second_preparation_waits_for_the_first(tmp_path, capsys):
  order = []

  def second():
    with writer.preparation_lock(tmp_path):
      order.append("second")

  thread = threading.Thread(target=second)
  with writer.preparation_lock(tmp_path):
    thread.start()
    time.sleep(0.2)
    order.append("first")
  thread.join()
  assert order == ["first", "second"]
  assert "waiting for another preparation" in capsys.readouterr().err


def test_summary_holds_counts_and_shares(tmp_path, capsys):
  write(tmp_path, make_source())
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["images", "3", "1"] in rows
  assert ["with", "masks", "2", "1"] in rows
  assert ["0", "ground", "75.000", "%", "75.000", "%"] in rows
  assert ["1", "thing", "25.000", "%", "25.000", "%"] in rows
  assert ["ignored", "(255)", "20.000", "%", "20.000", "%"] in rows
  assert ["1", "1", "2"] in rows  # Split "1": 1 labeled, 2 unlabeled.


def test_stored_bytes_are_those_of_the_files(tmp_path):
  buffer = io.BytesIO()
  Image.fromarray(PIXELS).save(buffer, "JPEG", quality=77)
  raw = examples.RawExample(
    "a", examples.File("a.jpg", buffer.getvalue), make_raw("a").mask
  )
  source = make_source([raw], split_lists={})
  builder = tfds.builder_from_directory(write(tmp_path, source))
  undecoded = {"image": tfds.decode.SkipDecoding()}
  (row,) = builder.as_data_source("train", decoders=undecoded)
  assert row["image"] == buffer.getvalue()


def read_rows(path, split="train"):
  return list(tfds.builder_from_directory(path).as_data_source(split))


def test_conversions_are_counted_by_split(tmp_path, capsys):
  rgba = Image.fromarray(PIXELS).convert("RGBA")
  train = [
    make_raw("a", orientation=3, mask=None),
    make_raw("b", rgba),
    make_raw("c", rgba, kind="TIFF"),
    make_raw("d", mask=np.full_like(MASK, 255)),
  ]
  val = [make_raw("v", rgba)]
  source = make_source(
    train, split_lists={}, examples={"train": train, "val": val}
  )
  path = write(tmp_path, source)
  lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
  rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
  assert ["converted"] in rows
  assert ["with masks", "2", "1"] in rows
  assert ["image: turned upright", "1", "0"] in rows
  assert ["image: opaque alpha left out", "2", "1"] in rows
  assert ["image: from TIFF", "1", "0"] in rows
  assert ["mask: without a labeled pixel", "1", "0"] in rows
  turned = read_rows(path)[0]["image"]
  np.testing.assert_array_equal(turned, PIXELS[::-1, ::-1])
  dataset = datasets.open_dataset("toy", tmp_path)
  assert dataset.has_label["train"] == (False, True, True, False)
  assert [row["has_label"] for row in read_rows(path)] == [0, 1, 1, 0]


def test_other_masks_tell_where_sizes_cannot(tmp_path):
  square = PIXELS[:, :4]
  for drawn_on in ("stored", "upright"):
    wide_mask = MASK if drawn_on == "stored" else MASK.T.copy()
    train = [
      make_raw("a", square, MASK[:, 1:], orientation=2),
      make_raw("b", orientation=6, mask=wide_mask),
    ]
    source = make_source(train, split_lists={})
    first, second = read_rows(write(tmp_path, source, overwrite=True))
    expected = MASK[:, 1:]
    expected = expected[:, ::-1] if drawn_on == "stored" else expected
    np.testing.assert_array_equal(first["label"][..., 0], expected)
    assert second["image"].shape[:2] == (5, 4) == second["label"].shape[:2]
  for option, flip in ("stored", -1), ("upright", 1):
    source = make_source(train[:1], split_lists={}, mask_orientation=option)
    (row,) = read_rows(write(tmp_path, source, overwrite=True))
    np.testing.assert_array_equal(row["label"][..., 0], MASK[:, 1:][:, ::flip])
  with pytest.raises(writer.DataError, match="--mask_orientation=stored or"):
    source = make_source(train[:1], split_lists={})
    write(tmp_path, source, overwrite=True)


def test_a_range_of_values_holds_for_all_deep_images(tmp_path):
  train = [make_raw("a", np.uint16(PIXELS[..., 0]) * 10), make_raw("b")]
  with pytest.raises(writer.DataError, match="^a.image: 16 bits .* 0 to 570;"):
    write(tmp_path, make_source(train, split_lists={}))
  source = make_source(train, split_lists={}, value_range=(0, 2550))
  rows = read_rows(write(tmp_path, source))
  np.testing.assert_array_equal(rows[0]["image"][..., 2], PIXELS[..., 0])
  np.testing.assert_array_equal(rows[1]["image"], PIXELS)


def read_contents(path):
  return tfds.builder_from_directory(path).info.metadata["contents"]


def test_the_digest_of_contents_tells_of_a_single_pixel(tmp_path):
  first = read_contents(write(tmp_path, make_source()))
  assert set(first) == {"train", "val"} and len(first["train"]) == 64
  again = write(tmp_path, make_source(), overwrite=True)
  assert read_contents(again) == first
  pixels, mask = PIXELS.copy(), MASK.copy()
  pixels[0, 0, 0] += 1
  mask[0, 0] = 1
  for changed in (
    [make_raw("b", pixels), make_raw("a"), make_raw("c", mask=None)],
    [make_raw("b", mask=mask), make_raw("a"), make_raw("c", mask=None)],
    [make_raw("a"), make_raw("b"), make_raw("c", mask=None)],
  ):
    path = write(tmp_path, make_source(changed), overwrite=True)
    found = read_contents(path)
    assert found["train"] != first["train"] and found["val"] == first["val"]


def test_splits_that_still_fit_outlive_an_overwrite(tmp_path, capsys):
  path = write(tmp_path, make_source())
  drawn = {"1_2": (["a"], ["c"]), "gone": (["x"], ["a"])}
  writer.write_lists(drawn, path / "lists")
  capsys.readouterr()
  failing = make_source(problems=["wrong"])
  with pytest.raises(writer.DataError):
    write(tmp_path, failing, overwrite=True)
  assert sorted(p.name for p in (path / "lists").iterdir()) == [
    "1", "1_2", "gone"
  ]  # fmt: skip
  train = [
    make_raw("a"),
    make_raw("b"),
    make_raw("c", mask=None),
    make_raw("d"),
  ]
  path = write(tmp_path, make_source(train), overwrite=True)
  assert (path / "lists/1_2/labeled.txt").read_text() == "a\n"
  assert (path / "lists/1_2/unlabeled.txt").read_text() == "c\n"
  assert not (path / "lists/gone").exists()
  lines = capsys.readouterr().out.splitlines()
  assert ["1_2", "1", "1"] in [line.split() for line in lines]
  assert "split 1_2: kept" in lines
  (line,) = (line for line in lines if "gone" in line)
  assert "not kept" in line and "'x' is not among the training images" in line
