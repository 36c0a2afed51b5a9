"""Tables of published figures: their list, our figures, the page."""

import pathlib

import pytest

from scripts import published_tables, sweep
from u2pl_jax.tools import records

LIST = """
[[table]]
title = "Toys"
from = "a paper"
flags = ["--config.k=1"]
[table.miou]
"configs/toy.py:1" = 72.50
"configs/toy.py:2" = 80

[[table]]
title = "Others"
from = "its code"
note = "It differs."
flags = []
[table.miou]
"configs/toy.py:1" = 60.1
"""
PAGE = "Before.\n\n<!-- published -->\nold\n<!-- end -->\n\nAfter.\n"
TABLES = """\
Before.

<!-- published -->

### Toys

Published figures: a paper.

| command | published | here |
| --- | --- | --- |
| `python main.py --config=configs/toy.py:1 --workdir=DIR --config.k=1` \
| 72.50 | 71.0 ± 1.4, seeds 0, 1 |
| `python main.py --config=configs/toy.py:2 --workdir=DIR --config.k=1` \
| 80 | not run |

### Others

Published figures: its code. It differs.

| command | published | here |
| --- | --- | --- |
| `python main.py --config=configs/toy.py:1 --workdir=DIR` \
| 60.1 | 50.0, seeds 3 |

<!-- end -->

After.
"""


def make_record(seed, miou, *flags):
  return {
    "study": "toys",
    "config": "configs/toy.py:1",
    "flags": list(flags),
    "seed": seed,
    "miou": miou,
  }


def test_ours_are_those_of_the_same_config_and_flags(tmp_path):
  page, runs = tmp_path / "page.md", tmp_path / "runs.jsonl"
  source = tmp_path / "published.toml"
  page.write_text(PAGE)
  source.write_text(LIST)
  for record in (
    make_record(1, 72.0, "--config.k=1"),
    make_record(0, 70.0, "--config.k=1"),
    make_record(0, 99.0, "--config.k=2"),
    make_record(3, 50.0),
  ):
    records.append(record, runs)
  flags = [f"--page={page}", f"--records={runs}", f"--published={source}"]
  for _ in range(2):
    assert sweep.main(["tables", *flags]) == 0
    assert page.read_text() == TABLES


def test_the_page_is_what_list_and_records_make(tmp_path):
  made, page = tmp_path / "results.md", pathlib.Path("docs/results.md")
  made.write_bytes(page.read_bytes())
  published_tables.update(
    made,
    published_tables.read(pathlib.Path("results/published.toml")),
    records.read("results/runs.jsonl"),
  )
  assert made.read_bytes() == page.read_bytes()
  assert "<!-- published -->" in page.read_text()


def test_a_setting_has_one_figure():
  tables = published_tables.read(pathlib.Path("results/published.toml"))
  commands = [row.command for table in tables for row in table.rows]
  assert len(commands) == len(set(commands))


@pytest.mark.parametrize(
  "old, new, told",
  [
    ("[[table]]", "[[table", r"published.toml: .*line 2"),
    ("from", "source", "table 1: 'from' is missing or unknown; expected flags"),
    ("note", "nota", "table 2: 'nota' is missing or unknown"),
    ("", '"configs/toy.py:1" = 1\n', "published.toml: "),
  ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path, old, new, told):
  source = tmp_path / "published.toml"
  text = LIST.replace(old, new, 1) if old else LIST + new
  source.write_text(text)
  with pytest.raises(ValueError, match=told) as caught:
    published_tables.read(source)
  assert "\n" not in str(caught.value)
