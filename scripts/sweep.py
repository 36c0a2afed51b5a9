"""Runs many trainings, keeps a line of each, and makes the tables of them.

  python scripts/sweep.py run results/studies/rare.txt --out=runs
  python scripts/sweep.py tables

A study is a file of text, a line for each setting: a config with its argument,
the seeds, and flags of main.py as they are:

  configs/synthetic.py:method=suponly seeds=0,1,2
  configs/synthetic.py:recipe=paper seeds=0 --config.train.epochs=48

`run` trains each setting with each seed by main.py, in a process and a folder
of its own, and appends what came out to results/runs.jsonl. What stands there
is not run again, and what was interrupted goes on, so the same command resumes
a sweep. A run that fails is told, and the others go on.

`tables` puts the tables and plots of that file in docs/results.md, between the
lines `<!-- study NAME ... -->` and `<!-- end -->`; see `sweep_tables`. Between
`<!-- published -->` and `<!-- end -->` go the figures of results/published.toml
with those of our runs beside them; see `published_tables`.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

if not __package__:  # Run as a file.
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from scripts import published_tables, sweep_runs, sweep_tables
from u2pl_jax.runtime import command_line
from u2pl_jax.tools import records

_RECORDS = pathlib.Path("results/runs.jsonl")
_PUBLISHED = pathlib.Path("results/published.toml")
_PAGE = pathlib.Path("docs/results.md")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns 1 if a run failed."""
  args = _read_arguments(argv)
  with command_line.one_line_errors():
    if args.command == "run":
      return sweep_runs.run(
        sweep_runs.read_study(args.study), args.out, args.records, args.at_once
      )
    runs = records.read(args.records)
    sweep_tables.update(args.page, runs)
    published = published_tables.read(args.published)
    published_tables.update(args.page, published, runs)
  return 0


def _read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = command_line.make_parser("scripts.sweep", __doc__)
  commands = parser.add_subparsers(dest="command", required=True)
  running = commands.add_parser("run", help="train what is missing")
  running.add_argument("study", type=pathlib.Path, help="file of settings")
  running.add_argument(
    "--out", type=pathlib.Path, required=True, help="folder of the runs"
  )
  running.add_argument("--at_once", type=int, default=1, help="processes")
  tables = commands.add_parser("tables", help="write tables and plots")
  tables.add_argument("--page", type=pathlib.Path, default=_PAGE)
  tables.add_argument("--published", type=pathlib.Path, default=_PUBLISHED)
  for command in (running, tables):
    command.add_argument("--records", type=pathlib.Path, default=_RECORDS)
  return parser.parse_args(argv)


if __name__ == "__main__":
  sys.exit(main())
