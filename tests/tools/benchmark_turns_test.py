"""Sides in processes of their own, with stubs for what they measure."""

import pytest

from tests.tools import benchmark_stub
from u2pl_jax.tools import benchmark_turns

STUB = benchmark_stub.__name__


def side(tmp_path, name, **settings):
  settings = {"name": name, "log": str(tmp_path / "log")} | settings
  return benchmark_turns.Side(STUB, settings)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
  monkeypatch.setattr(benchmark_turns, "_BLOCK_SECONDS", 0.01)


def turns(tmp_path):
  """Who ran, one letter for each block or first call."""
  return (tmp_path / "log").read_text()


def test_sides_take_turns(tmp_path):
  sides = {name: side(tmp_path, name) for name in "ab"}
  results = benchmark_turns.measure(sides, 3)
  assert turns(tmp_path) == "aaa" + "bbb" + 3 * "aabb"
  for name, result in results.items():
    seconds = result["seconds"]
    assert len(seconds["rounds"]) == 3
    assert 0 < seconds["min"] <= seconds["median"] <= seconds["max"]
    images = result["images_per_second"]
    assert images["max"] == pytest.approx(4 / seconds["min"])
    assert result["compile_seconds"] >= 0.05  # Which the stub sleeps at first.
    assert result["stub"] == name


def test_each_block_in_a_process_of_its_own(tmp_path):
  sides = {name: side(tmp_path, name) for name in "ab"}
  results = benchmark_turns.measure(sides, 2, alone=True)
  assert turns(tmp_path) == 2 * ("aaa" + "aa" + "bbb" + "bb")
  assert len(results["a"]["seconds"]["rounds"]) == 2


def test_memory_is_that_of_each_process(tmp_path):
  sides = {
    "a": side(tmp_path, "a"),
    "b": side(tmp_path, "b", mib=200),
  }
  results = benchmark_turns.measure(sides, 1)
  small, large = (results[name]["peak_mib"] for name in "ab")
  assert 190 <= large - small <= 260
  assert small < 100  # Not that of this process, which has JAX.
  # It was given back before the end.
  assert results["b"]["resident_mib"] < large - 150


def test_a_side_does_not_import_the_other(tmp_path):
  result = benchmark_turns.measure({"a": side(tmp_path, "a")}, 1)["a"]
  assert not {"jax", "torch", "numpy", "tensorflow"} & set(result["modules"])


@pytest.mark.parametrize("where", ["make", "run"])
def test_an_error_of_a_side_is_one_line(tmp_path, where):
  sides = {"a": side(tmp_path, "a", fails_in=where)}
  with pytest.raises(ValueError, match=f"^the stub fails in {where}$"):
    benchmark_turns.measure(sides, 1)


def test_a_side_that_dies_is_named(tmp_path):
  sides = {"a": side(tmp_path, "a", dies=True)}
  with pytest.raises(ValueError, match=f"{STUB} ended .exit code 7"):
    benchmark_turns.measure(sides, 1)


def test_what_a_side_prints_is_no_answer(tmp_path, capfd):
  sides = {"a": side(tmp_path, "a", prints="hello")}
  benchmark_turns.measure(sides, 1)
  assert "hello" in capfd.readouterr().err
