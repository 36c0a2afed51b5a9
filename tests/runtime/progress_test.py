"""The progress line."""

import pytest

from u2pl_jax.runtime import progress


class Clock:
  def __init__(self):
    self.now = 100.0

  def monotonic(self):
    return self.now


def run(monkeypatch, seconds_each, total=4, **options):
  clock = Clock()
  monkeypatch.setattr(progress, "time", clock)
  bar = progress.Progress("writing", total, **options)
  for _ in range(total):
    clock.now += seconds_each
    bar.advance()


def test_slow_jobs_show_rate_and_remaining_time(monkeypatch, capsys):
  run(monkeypatch, seconds_each=20)
  lines = capsys.readouterr().err.splitlines()
  assert lines[0] == "writing: 1/4, 0.05 images/s, 1 min 0 s left"
  assert lines[-1] == "writing: 4/4, 0.05 images/s, 0 s left"
  assert len(lines) == 4


def test_quick_jobs_show_one_line(monkeypatch, capsys):
  run(monkeypatch, seconds_each=0.5)
  assert capsys.readouterr().err == "writing: 4/4, 2 images/s, 0 s left\n"


def test_on_a_terminal_one_line_is_updated(monkeypatch, capsys):
  monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
  run(monkeypatch, seconds_each=1)
  shown = capsys.readouterr().err
  assert shown.count("\r") == 4 and shown.count("\n") == 1


def test_a_patient_line_is_not_shown_for_quick_jobs(monkeypatch, capsys):
  run(monkeypatch, seconds_each=1, patience=5.0)
  assert capsys.readouterr().err == ""
  run(monkeypatch, seconds_each=2, patience=5.0)
  assert capsys.readouterr().err.startswith("writing: 4/4")


def test_several_items_count_at_once(capsys):
  bar = progress.Progress("writing", 5)
  bar.advance(3)
  bar.advance(2)
  assert capsys.readouterr().err.startswith("writing: 5/5")


@pytest.mark.parametrize(
  ("seconds", "text"),
  [(0.4, "0 s"), (59.6, "1 min 0 s"), (187, "3 min 7 s"), (7500, "2 h 5 min")],
)
def test_durations_have_two_units(seconds, text):
  assert progress.format_seconds(seconds) == text
