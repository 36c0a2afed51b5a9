"""Writing a dataset: all or nothing, and in TFDS's own form."""

import io
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import examples, writer
from u2pl_jax.data import datasets

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
MASK = np.uint8([[0, 0, 0, 1, 255]] * 4)


def make_raw(example_id, pixels=PIXELS, mask=MASK):
  def to_file(kind, array):
    name = f"{example_id}.{kind}"
    return examples.File(name, lambda: examples.encode_png(array))

  image = to_file("image", pixels)
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
