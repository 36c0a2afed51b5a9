"""Several runs from the command line; a line for each mistake."""

import json
import re
import shutil

import pytest

from tests import one_line, tiny_run
from tests.report import reported
from u2pl_jax.data import datasets
from u2pl_jax.evaluation import protocol
from u2pl_jax.predict import trained
from u2pl_jax.report import examples
from u2pl_jax.tools import compare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Holds data/ and the runs a, b and c."""
  folder = tmp_path_factory.mktemp("compared")
  tiny_run.make_dataset(folder / "data")
  for name, arg in (("a", ""), ("b", "method=suponly"), ("c", "")):
    reported.write_run(
      folder / name, folder / "data", salt=name, arg=arg, scalars={}
    )
  return folder


def flags_of(folder, names, *others):
  runs = ",".join(f"{folder}/{name}" for name in names)
  return [f"--workdirs={runs}", *others]


def read_rows(path):
  """[(kind, id, captions)] of a page."""
  rows, kind = [], None
  pattern = (
    r'<section id="(\w+)"|<h3>(.*?)</h3>|<span>([^<]*)</span>\n</button>'
  )
  for found in re.finditer(pattern, path.read_text()):
    if found[1]:
      kind = found[1]
    elif found[2]:
      rows.append((kind, found[2], []))
    else:
      rows[-1][2].append(found[3])
  return rows


def test_three_runs_stand_side_by_side(folder, tmp_path):
  out = tmp_path / "page.html"
  flags = flags_of(folder, "abc", "--count=2", f"--out={out}", "--by=first")
  assert compare.main(flags) == 0
  networks = [trained.load_run(folder / name) for name in "abc"]
  dataset = datasets.open_dataset("tiny", folder / "data")
  found = examples.evaluate(
    networks,
    dataset,
    protocol.Protocol("whole", (33, 33)),
    batch_size=8,
    max_images=9,
  )
  # Nine images, worst first: the first two, two in the middle, the last two.
  expected = [found.worst[index] for index in (0, 1, 3, 4, 7, 8)]
  rows = read_rows(out)
  kinds = [kind for kind, *_ in rows]
  assert kinds == ["worst"] * 2 + ["median"] * 2 + ["best"] * 2
  for (_, name, captions), example in zip(rows, expected, strict=True):
    assert name == example.name
    scores = [
      f"{run}: {view.scores.miou:.1f} %"
      for run, view in zip("abc", example.views, strict=True)
    ]
    assert captions == ["Image", "Label", *scores]
  html = out.read_text()
  assert html.count("data:image/webp") == 6 * 5
  assert "by the score of a." in html


def fail(*flags):
  return one_line.error_of(compare.main, *flags)


def test_mistakes_are_one_line(folder, tmp_path):
  out = f"--out={tmp_path}/page.html"
  for flags, expected in (
    (["--workdirs=,", out], "--workdirs names no run"),
    (flags_of(folder, "aba", out), f"--workdirs names {folder}/a twice"),
    ([f"--workdirs={folder}/a,{tmp_path}", out], f"{tmp_path} holds no run"),
    (flags_of(folder, "ab", out, "--count=0"), "--count=0: must be >= 1"),
    (flags_of(folder, "ab", f"--out={tmp_path}/no/a.html"), "no folder"),
    (flags_of(folder, "ab", out, f"--data_dir={tmp_path}"),
     "no prepared dataset 'tiny'"),
    (flags_of(folder, "ab", out, "--checkpoint=x"), "--checkpoint=x"),
  ):  # fmt: skip
    assert expected in fail(*flags), flags


def test_other_data_other_classes_and_unfinished_runs_are_named(
  folder, tmp_path
):
  out = f"--out={tmp_path}/page.html"
  other = shutil.copytree(folder / "b", tmp_path / "other")
  flags = [f"--workdirs={folder}/a,{other}", out]
  classes = json.loads((other / "classes.json").read_text())
  names = ["cat", *classes["names"][1:]]
  (other / "classes.json").write_text(json.dumps(classes | {"names": names}))
  message = fail(*flags)
  assert "classes 'cat, " in message and f"of {folder}/a" in message
  config = json.loads((other / "config.json").read_text())
  config["data"]["name"] = "voc"
  (other / "config.json").write_text(json.dumps(config))
  message = fail(*flags)
  assert "'voc'" in message and "'tiny'" in message and "--workdirs=" in message
  (other / "result.json").unlink()
  message = fail(*flags)
  assert f"{other}: there is no result.json" in message
