"""The tables of published figures with ours beside them, made from one list.

The list, results/published.toml, says of each figure which setting stands for
it here. Ours are of the records of runs with the same config and flags. A page
says where the tables go:

  <!-- published -->
  ... whatever stands here is replaced ...
  <!-- end -->
"""

import pathlib
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scripts import spread

_BLOCK = re.compile(r"(<!-- published -->\n).*?(<!-- end -->)", re.DOTALL)
_KEYS = {"title", "from", "flags", "miou"}  # Of each table in the list.
Record = Mapping[str, Any]


class Row(NamedTuple):
  """One published figure.

  Attributes:
    config: file and argument, as --config takes them.
    flags: further flags of main.py.
    miou: in percent, with the digits that were published.
  """

  config: str
  flags: tuple[str, ...]
  miou: str

  @property
  def command(self) -> str:
    """What makes such a run here, into a folder DIR."""
    words = ("python", "main.py", f"--config={self.config}", "--workdir=DIR")
    return shlex.join([*words, *self.flags])


class Table(NamedTuple):
  """Figures of one source.

  Attributes:
    title: the dataset, and what was trained.
    source: where the figures stand.
    note: what else is to be known of them, in sentences; may be "".
    rows: the figures.
  """

  title: str
  source: str
  note: str
  rows: tuple[Row, ...]


def read(path: pathlib.Path) -> list[Table]:
  """The tables of a list, in its order.

  Raises:
    ValueError: the file is not as it should be; one line.
    OSError: it cannot be read.
  """
  try:
    # As text, a figure keeps its last digit where that is 0.
    content = tomllib.loads(path.read_text(), parse_float=str)
  except tomllib.TOMLDecodeError as error:
    raise ValueError(f"{path}: {error}") from error
  tables = content.get("table", [])
  for number, table in enumerate(tables, 1):
    wrong = _KEYS ^ table.keys() - {"note"}
    if wrong:
      raise ValueError(
        f"{path}, table {number}: {min(wrong)!r} is missing or unknown;"
        f" expected {', '.join(sorted(_KEYS))} and, if wanted, note"
      )
  return [_to_table(table) for table in tables]


def _to_table(table: Mapping[str, Any]) -> Table:
  rows = tuple(
    Row(config, tuple(table["flags"]), str(miou))
    for config, miou in table["miou"].items()
  )
  return Table(table["title"], table["from"], table.get("note", ""), rows)


def update(
  page: pathlib.Path, tables: Sequence[Table], records: Sequence[Record]
) -> None:
  """Writes the block of a page anew, if it has one.

  Args:
    page: a file of Markdown.
    tables: of `read`.
    records: of `sweep_runs.make_record`.

  Raises:
    OSError: the page cannot be read or written.
  """
  text = "\n\n".join(format_table(table, records) for table in tables)

  def fill(found: re.Match[str]) -> str:
    return f"{found[1]}\n{text}\n\n{found[2]}"

  page.write_text(_BLOCK.sub(fill, page.read_text()))


def format_table(table: Table, records: Sequence[Record]) -> str:
  """A heading, the source, and a table of Markdown with a row a figure."""
  lines = ["| command | published | here |", "| --- | --- | --- |"]
  lines += [
    f"| `{row.command}` | {row.miou} | {_format_ours(row, records)} |"
    for row in table.rows
  ]
  about = f"Published figures: {table.source}. {table.note}".strip()
  return "\n".join([f"### {table.title}", "", about, "", *lines])


def _format_ours(row: Row, records: Sequence[Record]) -> str:
  setting = row.config, list(row.flags)
  found = {
    record["seed"]: record["miou"]
    for record in sorted(records, key=lambda record: record["seed"])
    if (record["config"], record["flags"]) == setting
  }
  if not found:
    return "not run"
  seeds = ", ".join(map(str, found))
  return f"{spread.format_mean(list(found.values()))}, seeds {seeds}"
