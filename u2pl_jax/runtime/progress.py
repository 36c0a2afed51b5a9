"""A progress line with rate and remaining time, and how times are told."""

import sys
import time


def format_seconds(seconds: float) -> str:
  """A duration in two units, such as "2 h 5 min" or "3 min 6 s"."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours} h {minutes} min"
  return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _format_rate(rate: float) -> str:
  """Two figures of a slow one, such as 0.25; whole numbers of others."""
  return f"{rate:.0f}" if rate >= 9.95 else f"{rate:.2g}"


class Progress:
  """Shows how far a job of known length is, on stderr.

  On a terminal one line is updated in place; elsewhere a line is added from
  time to time.
  """

  def __init__(
    self,
    what: str,
    total: int,
    *,
    unit: str = "images",
    patience: float = 0.0,
  ):
    """Starts the clock.

    Args:
      what: says what is done; it stands before the figures.
      total: how many there are.
      unit: what is counted.
      patience: seconds before anything is shown; a job that is done by then
        shows nothing.
    """
    self._what = what
    self._total = total
    self._unit = unit
    self._patience = patience
    self._done = 0
    self._start = time.monotonic()
    self._terminal = sys.stderr.isatty()
    self._interval = 0.2 if self._terminal else 10.0
    self._shown = self._start
    self._is_open = False  # Whether a line waits to be updated.

  def advance(self, count: int = 1):
    """Counts further images as done."""
    self._done += count
    now = time.monotonic()
    last = self._done == self._total
    if now - self._start < self._patience:
      return
    if last or now - self._shown >= self._interval:
      self._shown = now
      self._show(now - self._start, last)

  def end_line(self):
    """What is printed next begins a line of its own."""
    if self._terminal and self._is_open:
      print(file=sys.stderr, flush=True)
    self._is_open = False

  def _show(self, elapsed: float, last: bool):
    rate = self._done / max(elapsed, 1e-9)
    remaining = (self._total - self._done) / rate
    line = (
      f"{self._what}: {self._done}/{self._total}, "
      f"{_format_rate(rate)} {self._unit}/s, "
      f"{format_seconds(remaining)} left"
    )
    if self._terminal:
      print(f"\r{line:<78}", end="\n" if last else "", file=sys.stderr)
      self._is_open = not last
    else:
      print(line, file=sys.stderr)
    sys.stderr.flush()
