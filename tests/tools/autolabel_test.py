"""From a run and a folder of photographs to what a person corrects."""

import csv
import functools
import json
import math
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_prep import folder
from tests import one_line
from tests.report import reported
from tests.tools import photos
from u2pl_jax.data import datasets
from u2pl_jax.evaluation import outputs, protocol
from u2pl_jax.predict import photographs, trained
from u2pl_jax.tools import autolabel, autolabel_images

NAMES = ("ground", "thing", "sky")
SIZE = (33, 41)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """Holds in/, data/ and runs; 4 of 12 photographs have masks.

  Half of the pixels of photograph 5 are below the median of the run's
  thresholds.
  """
  root = tmp_path_factory.mktemp("autolabel")
  photos.save(root / "in", 12, SIZE)
  rng = np.random.default_rng(0)
  (root / "tree/masks").mkdir(parents=True)
  (root / "tree/images").symlink_to(root / "in")
  for index in range(4):
    mask = rng.integers(0, 3, SIZE, np.uint8)
    Image.fromarray(mask).save(root / f"tree/masks/{index}.png")
  (root / "tree/classes.json").write_text(json.dumps({"names": NAMES}))
  flags = [f"--root={root / 'tree'}", "--name=tiny", "--val=1"]
  assert folder.main([*flags, f"--data_dir={root / 'data'}"]) == 0
  scalars = {5: {"semi/drop_threshold": 0.0}}
  reported.write_run(root / "run", root / "data", scalars=scalars)
  median = float(np.median(predict(root, 5)[1]))
  for step, value in ((6, median), (7, 9.0)):
    reported.write_events(root / "run", {step: {"semi/drop_threshold": value}})
  reported.write_run(
    root / "suponly", root / "data", arg="method=suponly", scalars={6: {}}
  )
  return root


def run(made, out, *flags, workdir="run"):
  return autolabel.main(
    [
      f"--workdir={made / workdir}",
      f"--images={made / 'in'}",
      f"--out={out}",
      *flags,
    ]
  )


def fail(*arguments, **options):
  return one_line.error_of_call(run, *arguments, **options)


@pytest.fixture(scope="module")
def out(made, tmp_path_factory):
  folder = tmp_path_factory.mktemp("results") / "out"
  assert run(made, folder, "--top=3", "--for=cvat") == 0
  return folder


def read_rows(out):
  with open(out / "ranking.csv", newline="") as file:
    return list(csv.DictReader(file))


@functools.cache
def predict(made, index):
  """Labels and entropy of a photograph, by the evaluator."""
  network = trained.load_run(made / "run")
  whole = protocol.Protocol("whole", network.window)
  compute = outputs.make_predict(network.model, whole, ("labels", "entropy"))
  found = compute(network.variables, photos.make_image(index, SIZE)[None])
  return [np.asarray(found[name])[0] for name in ("labels", "entropy")]


def test_unlabeled_images_alone_are_labeled(made, out):
  dataset = datasets.open_dataset("tiny", made / "data")
  unlabeled = {str(index) for index in range(4, 12)}
  assert set(dataset.ids["train"]) >= unlabeled
  for kind, ending in (("masks", "png"), ("overlays", "jpg")):
    assert {path.name for path in (out / kind).iterdir()} == {
      f"{name}.{ending}" for name in unlabeled
    }


def test_pixels_above_the_median_threshold_are_255(made, out):
  labels, entropy = predict(made, 5)
  expected = np.where(entropy < np.median(entropy), labels, 255)
  assert 0.4 < (expected == 255).mean() < 0.6
  # Another program may round the pixel in the middle otherwise.
  assert (photos.load(out, "masks/5.png") != expected).sum() <= 2
  row = next(row for row in read_rows(out) if row["image"] == "5.png")
  mean = float(row["mean_entropy"])
  assert mean == pytest.approx(entropy.mean(), abs=math.log(3) / 255)
  share = (expected == 255).mean()
  assert float(row["unreliable_share"]) == pytest.approx(share, abs=2e-3)
  classes = [NAMES[i] for i in np.unique(expected) if i < 3]
  assert row["classes"] == "; ".join(classes)


def test_the_ranking_is_that_of_the_formula(out):
  rows = read_rows(out)
  assert [int(row["rank"]) for row in rows] == list(range(1, 9))
  scores = [float(r["mean_entropy"]) * float(r["unlike"]) for r in rows]
  # The largest of all that are left: with each rank the others come nearer.
  assert np.all(np.diff(scores) <= 1e-4 * scores[0])
  assert all(0 <= float(row["unlike"]) <= 2 for row in rows)


def test_the_first_ranks_are_to_be_corrected(made, out):
  first = [row["image"] for row in read_rows(out)[:3]]
  for name in first:
    copy = out / "first/images" / name
    assert copy.read_bytes() == (made / "in" / name).read_bytes()
    np.testing.assert_array_equal(
      photos.load(out, "first/masks", name), photos.load(out, "masks", name)
    )
  assert len(list((out / "first/masks").iterdir())) == 3
  with zipfile.ZipFile(out / "first/cvat.zip") as file:
    listed = file.read("ImageSets/Segmentation/default.txt").decode().split()
  assert [f"{name}.png" for name in listed] == first
  page = (out / "ranking.html").read_text()
  assert all(f"{rank}. {name}" in page for rank, name in enumerate(first, 1))
  assert "The first 3 of 8 unlabeled images" in page
  assert re.search(r"unreliable: the entropy is [-0-9.e]+ nats or more", page)
  assert 'src="data:image/webp;base64,' in page and "https://" not in page


def test_what_was_corrected_comes_back_and_is_labeled(made, out, capsys):
  flags = [f"--root={out / 'first'}", f"--data_dir={made / 'data'}"]
  assert folder.main([*flags, "--add_to=tiny", "--name=more"]) == 0
  old = datasets.open_dataset("tiny", made / "data")
  new = datasets.open_dataset("more", made / "data")
  gained = np.flatnonzero(
    np.subtract(new.has_label["train"], old.has_label["train"], dtype=int)
  )
  first = [row["image"] for row in read_rows(out)[:3]]
  assert {f"{new.ids['train'][i]}.png" for i in gained} == set(first)
  assert new.ids["val"] == old.ids["val"]


def test_the_same_command_goes_on_and_takes_what_is_there(
  made, out, tmp_path, capsys
):
  line = fail(made, out)
  assert str(out / "first") in line and "--overwrite" in line
  rows, page = read_rows(out), (out / "ranking.html").read_text()
  (out / "first").rename(tmp_path / "kept")
  (out / "overlays/7.jpg").unlink()
  (out / "features/8.npy").unlink()
  times = {p: p.stat().st_mtime_ns for p in out.rglob("*/*")}
  assert run(made, out, "--top=3", "--for=labelstudio") == 0
  assert "7 of 8 images were done already" in capsys.readouterr().out
  changed = {
    path.relative_to(out).as_posix()
    for path in out.rglob("*/*")
    if path.is_file()
    and path.parent.name in ("masks", "features")
    and "first" not in path.parts
    and times.get(path) != path.stat().st_mtime_ns
  }
  assert changed == {"masks/7.png", "features/8.npy"}
  assert read_rows(out) == rows and (out / "ranking.html").read_text() == page
  tasks = json.loads((out / "first/label_studio.json").read_text())
  assert len(tasks) == 3 and not (out / "first/cvat.zip").exists()


@pytest.mark.slow
def test_confidence_or_another_order_may_be_asked_for(made, tmp_path):
  out = tmp_path / "out"
  flags = ["--min_confidence=0.4", "--rank_by=entropy", "--top=100"]
  assert run(made, out, *flags, workdir="suponly") == 0
  entropies = [float(row["mean_entropy"]) for row in read_rows(out)]
  assert entropies == sorted(entropies, reverse=True)
  assert len(list((out / "first/masks").iterdir())) == 8
  assert "less probable than 0.4" in (out / "ranking.html").read_text()


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--top=0"], "--top=0"),
    (["--min_confidence=1.5"], "--min_confidence=1.5"),
    (["--batch_size=0"], "--batch_size=0"),
    (["--data_dir=nowhere"], "or name its folder by --data_dir"),
    (["--workdir=nowhere"], "nowhere"),
  ],
)
def test_flags_out_of_range_are_named(flags, words, made, tmp_path):
  assert words in fail(made, tmp_path / "out", *flags)
  assert not (tmp_path / "out").exists()


def test_a_run_without_a_teacher_is_told_what_to_do(made, tmp_path):
  line = fail(made, tmp_path / "out", workdir="suponly")
  assert "has no teacher that keeps labels" in line
  assert str(made / "suponly") in line and "--min_confidence" in line
  flags = ["--min_confidence=0.5", "--state=teacher"]
  line = fail(made, tmp_path / "out", *flags, workdir="suponly")
  assert "has no teacher, only a student" in line


def test_the_folder_of_the_images_is_not_written_to(made, tmp_path):
  line = fail(made, made / "in")
  assert "is the folder of the images" in line
  assert "masks" not in {path.name for path in (made / "in").iterdir()}


def test_no_unlabeled_image_left_is_one_line(made, tmp_path):
  (tmp_path / "in").mkdir()
  for index in range(4):
    (tmp_path / f"in/{index}.png").symlink_to(made / f"in/{index}.png")
  line = fail(made, tmp_path / "out", f"--images={tmp_path / 'in'}")
  assert "no unlabeled image is left" in line and "all 4" in line


def test_another_image_of_the_same_name_is_refused(made, tmp_path):
  (tmp_path / "in").mkdir()
  Image.fromarray(photos.make_image(99, SIZE)).save(tmp_path / "in/1.png")
  line = fail(made, tmp_path / "out", f"--images={tmp_path / 'in'}")
  assert str(tmp_path / "in/1.png") in line
  assert "is another image than '1'" in line and "rename" in line


def test_images_are_found_by_a_part_of_their_path(made, tmp_path):
  """One is labeled, one is not, and one is not in the dataset."""
  dataset = datasets.open_dataset("tiny", made / "data")
  (tmp_path / "a/b").mkdir(parents=True)
  for index in (2, 7, 20):
    image = Image.fromarray(photos.make_image(index, SIZE))
    image.save(tmp_path / f"a/b/{index}.png")
  found = autolabel_images.choose_unlabeled(
    photographs.find(str(tmp_path)), dataset, "a"
  )
  assert {image.name: i for image, i in found.items()} == {
    "a/b/20": "a/b/20", "a/b/7": "7"
  }  # fmt: skip
