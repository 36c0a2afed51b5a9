"""The benchmark program: records, table, errors; and the peer's crops."""

import importlib.metadata
import io
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep import folder
from tests import one_line, tiny_network, voc_tree
from u2pl_jax.predict import trained
from u2pl_jax.tools import benchmark

QUICK = "--crop_size=24 --batch_size=2 --rounds=2 --batches=1 --epochs=2"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  tmp_path = tmp_path_factory.mktemp("prepared")
  tree = voc_tree.write(tmp_path / "tree")
  folder.prepare(tree, name="toy", data_dir=tmp_path / "data")
  return tmp_path / "data"


def run(data_dir, *options):
  return benchmark.main(
    ["pipeline", "--dataset=toy", f"--data_dir={data_dir}"]
    + QUICK.split()
    + [str(option) for option in options]
  )


def has_torch():
  try:
    return bool(importlib.metadata.version("torch"))
  except importlib.metadata.PackageNotFoundError:
    return False


def test_a_run_is_recorded_and_printed(data_dir, tmp_path, capsys):
  out = tmp_path / "new" / "results.jsonl"
  cpus = os.sched_getaffinity(0)
  assert run(data_dir, "--peer=none", "--steps", 7, f"--out={out}") == 0
  assert os.sched_getaffinity(0) == cpus
  table = capsys.readouterr().out
  record = json.loads(out.read_text())
  assert record["benchmark"] == "pipeline"
  assert record["settings"]["crop_size"] == 24
  assert record["versions"]["numpy"] == np.__version__
  assert len(record["load_average"]) == 3 and record["date"] and record["cpu"]
  assert record["first_batch_seconds"].keys() == {"7"}
  assert len(record["rss_mib"]) == 3
  for kind in ("images_per_second", "images_per_cpu_second"):
    speed = record["ours"][kind]
    assert 0 < speed["min"] <= speed["median"] <= speed["max"]
    assert f"ours.{kind}.median" in table
  assert "peer" not in record and "ratio" not in record


@pytest.fixture
def predict_arguments(tmp_path):
  checkpoint = tmp_path / "net.safetensors"
  trained.save_safetensors(tiny_network.make_trained(), checkpoint)
  images = tmp_path / "images"
  images.mkdir()
  for index in range(6):
    size = (24, 20) if index else (20, 24)
    Image.fromarray(np.zeros(size, np.uint8)).save(images / f"{index}.png")
  return ["predict", f"--weights={checkpoint}", f"--images={images}"]


def test_predict_is_measured_beside_its_network(predict_arguments, tmp_path):
  out = tmp_path / "results.jsonl"
  arguments = [*predict_arguments, "--num_images=5", f"--out={out}"]
  assert benchmark.main(arguments) == 0
  record = json.loads(out.read_text())
  assert record["benchmark"] == "predict"
  assert str(tmp_path) not in out.read_text()
  assert (record["images"], record["sizes"], record["programs"]) == (5, 2, 1)
  seconds = record["predict"]["seconds"]["median"]
  assert 0 < record["predict"]["first_seconds"]["median"] <= seconds
  speed = record["predict"]["images_per_second"]
  assert speed["median"] == pytest.approx(5 / seconds)
  alone = record["network"]["images_per_second"]
  assert 0 < alone["min"] <= alone["median"] <= alone["max"]
  ratio = record["ratio"]["images_per_second"]
  assert speed["min"] / alone["max"] <= ratio["min"] <= ratio["max"]
  assert ratio["max"] <= speed["max"] / alone["min"]
  assert [len(each) for each in record["rss_mib"]] == [5, 5, 5]


def test_a_large_picture_is_measured(predict_arguments, tmp_path):
  arguments = [*predict_arguments[:2], "--side=150"]
  out = tmp_path / "results.jsonl"
  assert benchmark.main([*arguments, f"--out={out}"]) == 0
  record = json.loads(out.read_text())
  # Windows of 33 x 41 with strides of 22 and 28 pixels.
  assert (record["pixels"], record["windows"]) == (150 * 150, 7 * 5)
  assert record["seconds"] > 0
  assert 0.1 < record["peak_gb"] <= record["told_gb"] + 0.1
  message = one_line.error_of(benchmark.main, *arguments[:2], "--side=65501")
  assert "--side=65501: must be in [1, 65500]" in message


def test_too_few_images_for_quarters_are_refused(predict_arguments):
  message = one_line.error_of(
    benchmark.main, *predict_arguments, "--num_images=3"
  )
  assert "at least 4 images" in message


def test_table_shows_nested_values_under_dotted_names():
  table = benchmark.format_table({"a": {"b": 1.23456}, "long_name": [1, 2.0]})
  assert table.splitlines() == ["a.b        1.235", "long_name  1 2"]


@pytest.mark.skipif(not has_torch(), reason="needs torch")
def test_ratio_is_that_of_the_medians(data_dir, tmp_path):
  out = tmp_path / "results.jsonl"
  assert run(data_dir, "--peer", "--steps", f"--out={out}") == 0
  record = json.loads(out.read_text())
  for kind, ratio in record["ratio"].items():
    ours, peer = (record[name][kind]["median"] for name in ("ours", "peer"))
    assert ratio == pytest.approx(ours / peer)


def test_missing_torch_is_one_line(data_dir, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  monkeypatch.delitem(
    sys.modules, "benchmarks.peers.torch_pipeline", raising=False
  )
  message = one_line.error_of_call(run, data_dir, "--peer")
  assert message.startswith("error: the peer cannot be imported")
  assert "leave --peer out" in message


def test_missing_dataset_is_one_line(tmp_path):
  message = one_line.error_of_call(run, tmp_path, "--peer=none")
  assert message.startswith("error: no prepared dataset 'toy'")


def test_impossible_sizes_are_refused(data_dir):
  message = one_line.error_of_call(run, data_dir, "--peer=none", "--rounds=0")
  assert "must be positive" in message


@pytest.mark.skipif(not has_torch(), reason="needs torch")
def test_peer_makes_the_crops_it_is_compared_for():
  """At scale 1 and without mirroring: the normalized image, padded."""
  from benchmarks.peers import torch_pipeline

  image = voc_tree.draw_image("a")[:18, :17]
  mask = voc_tree.draw_mask("a")[:18, :17]
  batch = next(
    torch_pipeline.make_batches(
      [(encode(image), encode(mask))],
      batch_size=1,
      crop_size=(20, 12),
      scale_range=(1.0, 1.0),
      flip_prob=0.0,
      seed=0,
    )
  )
  assert batch["image"].shape == (1, 3, 20, 12)
  label = batch["label"][0].numpy()
  assert (label[[0, 19]] == 255).all()
  pixels = batch["image"][0].permute(1, 2, 0).numpy()
  assert (pixels[[0, 19]] == 0).all()
  mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
  offsets = [x for x in range(6) if (label[1:19] == mask[:, x : x + 12]).all()]
  assert len(offsets) == 1
  expected = (image[:, offsets[0] : offsets[0] + 12] - np.array(mean)) / std
  np.testing.assert_allclose(pixels[1:19], expected, atol=1e-5)


def encode(pixels):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  return buffer.getvalue()
