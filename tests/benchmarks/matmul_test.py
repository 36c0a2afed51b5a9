"""The peak counts the fastest product, and takes little time on any machine."""

import pytest

from benchmarks import matmul


def measure(monkeypatch, seconds, side=10):
  """The rate of products that take so many seconds each, and their number."""
  clock, calls = [0.0], []

  def multiply():
    clock[0] += seconds[len(calls)]
    calls.append(None)

  monkeypatch.setattr(matmul.time, "perf_counter", lambda: clock[0])
  return matmul.measure(multiply, side), len(calls)


def test_the_fastest_of_six_counts(monkeypatch):
  rate, calls = measure(monkeypatch, [0.5, 0.2, 0.1, 0.3, 0.2, 0.4])
  assert rate == pytest.approx(2 * 10**3 / 0.1) and calls == 6


def test_one_slow_product_is_enough(monkeypatch):
  rate, calls = measure(monkeypatch, [25.0])
  assert rate == pytest.approx(2 * 10**3 / 25) and calls == 1
