"""The report from the command line: its figures; a line for each mistake."""

import html.parser
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests import one_line, tiny_run
from tests.report import charts_test, reported
from u2pl_jax.data import datasets, eval_pipeline
from u2pl_jax.evaluation import metrics, outputs, protocol
from u2pl_jax.predict import trained
from u2pl_jax.tools import report

NUM_IMAGES = 9


class Page(html.parser.HTMLParser):
  """What a page holds.

  Attributes:
    lines: its text, one for each table row, list entry and paragraph.
    addresses: all it refers to.
    charts: {key: figure}.
  """

  def __init__(self, path):
    super().__init__()
    self.lines, self.addresses, self.charts = [""], [], {}
    self._script = None
    self.feed(path.read_text())

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    for name in ("src", "href", "srcset", "action", "data"):
      if name in attributes:
        self.addresses.append(attributes[name])
    if tag in ("script", "style"):
      self._script = attributes.get("id", tag)
    if tag in ("tr", "p", "dt", "dd", "h1", "h2", "h3", "summary"):
      self.lines.append("")

  def handle_endtag(self, tag):
    if tag in ("script", "style"):
      self._script = None

  def handle_data(self, data):
    if self._script == "charts":
      self.charts = json.loads(data)
    elif self._script is None:
      self.lines[-1] = " ".join(f"{self.lines[-1]} {data}".split())

  def values(self, chart):
    """{name: y} of the lines of a chart."""
    return {
      trace["name"]: charts_test.decode(trace["y"]).tolist()
      for trace in self.charts[chart]["data"]
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Holds data/ and the runs a&b, of U2PL, and suponly."""
  folder = tmp_path_factory.mktemp("reports")
  tiny_run.make_dataset(folder / "data")
  reported.write_run(folder / "a&b", folder / "data")
  reported.write_run(
    folder / "suponly",
    folder / "data",
    salt="other",
    arg="method=suponly",
    scalars={step: {"crop/miou": 5.0 * step} for step in (2, 4)},
  )
  return folder


@pytest.fixture(scope="module")
def page(folder):
  assert report.main([f"--workdir={folder}/a&b"]) == 0
  return Page(folder / "a&b" / "report.html")


@pytest.fixture(scope="module")
def confusion(folder):
  """Of all validation images at their own size, counted by numpy."""
  network = trained.load_run(folder / "a&b")
  dataset = datasets.open_dataset("tiny", folder / "data")
  (batch,) = eval_pipeline.make_eval_batches(
    dataset, batch_size=NUM_IMAGES, crop_size=None
  )
  predict = outputs.make_predict(
    network.model, protocol.Protocol("whole", (1, 1)), ("labels",)
  )
  predictions = predict(network.variables, batch["image"])["labels"]
  pairs = 8 * batch["label"].astype(int) + np.asarray(predictions)
  return np.bincount(pairs[batch["label"] != 255], minlength=64).reshape(8, 8)


def test_curves_are_those_of_the_events(page):
  miou = list(reported.MIOU.values())
  assert page.values("miou") == {"crop": miou}
  names = page.values("iou").keys()
  assert page.values("iou") == {name: [m + 1 for m in miou] for name in names}
  scalars = reported.make_scalars(names)
  for name, values in page.values("loss").items():
    expected = [scalars[step][f"loss/{name}"] for step in range(1, 7)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
  thresholds = list(reported.DROP_THRESHOLD.values())
  assert page.values("threshold") == {"drop = reliable": thresholds}
  assert page.values("fraction").keys() == {"kept", "reliable"}
  for values in page.values("bank").values():
    np.testing.assert_allclose(values, [4 / 6, 1])


def test_scores_are_those_of_the_counted_pixels(page, confusion):
  scores = metrics.compute_scores(confusion)
  lines = page.lines
  assert lines[lines.index("mIoU, this report") + 1] == (
    f"{scores.miou:.2f} % whole, 9 images"
  )
  shares = 100 * confusion.sum(1) / confusion.sum()
  names = page.values("iou")
  for name, iou, share, row in zip(names, scores.iou, shares, confusion):
    assert f"{name} {iou:.2f} % {share:.2f} %" in lines
    assert " ".join([name, *(f"{pixels:,}" for pixels in row)]) in lines
  assert f"mean {scores.miou:.2f} %" in lines
  (heatmap,) = page.charts["confusion-0"]["data"]
  np.testing.assert_array_equal(
    charts_test.decode(heatmap["customdata"]), confusion
  )


def test_logged_scores_and_the_result_are_there(page):
  lines = page.lines
  assert lines[lines.index("mIoU, last") + 1] == "20.00 % crop, step 6"
  assert lines[lines.index("mIoU, best") + 1] == "30.00 % crop, step 4"
  training = lines[lines.index("Training") + 1]
  assert training == "1 h 2 min 6 steps, 12 images/s"
  assert "a&b slide, teacher of step 4 31.25 % 61.00 %" in lines
  assert "a&b" in lines  # The title.
  assert any(
    line.lower().startswith("u2pl · recipe paper · tiny") for line in lines
  )
  assert 'data.name "tiny"' in lines


def test_the_page_says_how_pseudo_labels_are_kept(page):
  (line,) = [line for line in page.lines if line.startswith("kept below")]
  assert "kept below 1.25 nats, the last that was logged, in step 6" in line


def test_the_page_refers_to_nothing_outside(page):
  assert len(page.addresses) > 6 * NUM_IMAGES
  assert all(url.startswith(("#", "data:")) for url in page.addresses)


def test_two_runs_stand_side_by_side(folder, page):
  out = folder / "both.html"
  flags = [f"--workdir={folder}/a&b", f"--compare={folder}/suponly"]
  assert report.main([*flags, f"--out={out}", "--max_images=2"]) == 0
  both = Page(out)
  lines = both.lines
  first = lines.index("mIoU, last")
  assert lines[first + 1 : first + 4] == [
    "a&b 20.00 % crop, step 6",
    "suponly 20.00 % crop, step 4",
    "difference +0.00",
  ]
  assert 'data.split "16" "16"' in lines
  assert 'method "u2pl" "suponly"' in lines
  assert (
    both.charts["confusion-0"]["data"] == page.charts["confusion-0"]["data"]
  )
  assert "confusion-1" in both.charts
  assert any("The worst 2 of 9 validation images" in line for line in lines)
  kept = [line for line in lines if "kept below" in line]
  assert "suponly kept below" in kept[0] + kept[-1]
  assert "the 80th percentile of all evaluated pixels: 80" in kept[0] + kept[-1]
  pictures = [url for url in both.addresses if url.startswith("data:")]
  assert len(pictures) == 2 * 10


def test_without_the_data_the_page_says_why(folder, tmp_path, capsys):
  out = tmp_path / "page.html"
  flags = [f"--workdir={folder}/a&b", f"--data_dir={tmp_path}"]
  assert report.main([*flags, f"--out={out}"]) == 0
  assert "no images: no prepared dataset 'tiny'" in capsys.readouterr().out
  page = Page(out)
  (why,) = [line for line in page.lines if line.startswith("No images")]
  assert "no prepared dataset 'tiny'" in why and "--data_dir" in why
  assert "confusion-0" not in page.charts and "miou" in page.charts
  names = list(page.values("iou"))
  assert f"{names[3]} 30.00 %" in page.lines  # Of result.json.
  assert not [url for url in page.addresses if url.startswith("data:")]


def test_a_run_without_events_is_told_so(folder, tmp_path):
  workdir = shutil.copytree(folder / "a&b", tmp_path / "run")
  for path in workdir.glob("events*"):
    path.unlink()
  (workdir / "result.json").unlink()
  assert report.main([f"--workdir={workdir}", "--max_images=0"]) == 0
  page = Page(workdir / "report.html")
  assert any("holds no TensorBoard events" in line for line in page.lines)
  assert page.charts.keys() == {"confusion-0"}


def test_the_picture_is_a_png_of_three_rows(folder, tmp_path):
  flags = [f"--workdir={folder}/a&b", f"--out={tmp_path}/page.html"]
  picture = tmp_path / "sheet.png"
  assert report.main([*flags, f"--picture={picture}"]) == 0
  drawn = Image.open(io.BytesIO(picture.read_bytes()))
  assert drawn.format == "PNG" and drawn.width > 5 * 288
  assert drawn.height > 3 * 288


def fail(*flags):
  return one_line.error_of(report.main, *flags)


def test_mistakes_are_one_line(folder, tmp_path):
  run = f"--workdir={folder}/a&b"
  empty = f"--data_dir={tmp_path}"
  for flags, expected in (
    ([f"--workdir={tmp_path}"], f"{tmp_path} holds no run"),
    (["--workdir="], "holds no run"),
    ([run, f"--compare={tmp_path}"], f"{tmp_path} holds no run"),
    ([run, "--max_images=-1"], "--max_images=-1"),
    ([run, empty, f"--out={tmp_path}/no/page.html"], "there is no folder"),
    ([run, empty, f"--out={tmp_path}"], "cannot be written"),
    ([run, "--picture=a.png", "--max_images=0"], "--picture"),
    ([run, empty, f"--out={tmp_path}/a.html", f"--picture={tmp_path}/a.png"],
     "no prepared dataset"),
    ([f"--workdir={folder}/suponly", "--state=teacher"], "teacher"),
    ([run, "--checkpoint=a.npz"], "--checkpoint=a.npz: must be best or last"),
  ):  # fmt: skip
    assert expected in fail(*flags), flags


def test_a_damaged_result_and_other_classes_are_one_line(folder, tmp_path):
  other = shutil.copytree(folder / "suponly", tmp_path / "other")
  config = json.loads((other / "config.json").read_text())
  config["data"]["name"] = "voc"
  (other / "config.json").write_text(json.dumps(config))
  message = fail(f"--workdir={folder}/a&b", f"--compare={other}")
  assert "'voc'" in message and "'tiny'" in message
  (other / "result.json").write_text("{")
  message = fail(f"--workdir={other}")
  assert "result.json is damaged" in message


def test_help_shows_how_to_call_it(capsys):
  with pytest.raises(SystemExit):
    report.main(["--help"])
  assert "report --workdir=runs/a --compare=runs/b" in capsys.readouterr().out
