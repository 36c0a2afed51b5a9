import dataclasses
from typing import ClassVar

import pytest
from ml_collections import config_dict

from u2pl_jax.runtime import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(options.Options):
  SECTION: ClassVar[str] = "toy"

  rate: float = options.setting(0.5, above=0, maximum=1)
  kind: str = options.setting("a", choices=("a", "b"))
  size: tuple[int, int] = options.setting((32, 32), minimum=16, length=2)
  steps: int = options.setting(3, minimum=1)
  name: str = ""
  weights: dict[str, float] = options.setting({"a": 1.0, "b": 2}, minimum=0)

  def check(self):
    if self.kind == "b" and self.steps > 5:
      raise ValueError(f"toy.steps={self.steps}: at most 5 with toy.kind=b")


def make(**changes):
  return Toy.read({"toy": Toy.defaults() | changes})


def test_a_section_is_made_from_the_class_and_read_back():
  assert Toy.defaults() == {
    "rate": 0.5,
    "kind": "a",
    "size": (32, 32),
    "steps": 3,
    "name": "",
    "weights": {"a": 1.0, "b": 2},
  }
  assert make() == Toy()
  assert make(size=[64, 48]).size == (64, 48)
  assert Toy.make(make(steps=4).to_section()) == make(steps=4)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rate": 0}, "toy.rate=0: must be > 0 and <= 1"),
    ({"rate": 1.5}, "toy.rate=1.5: must be > 0 and <= 1"),
    ({"kind": "c"}, "toy.kind='c': expected one of a, b"),
    ({"size": (32,)}, r"toy.size=\(32,\): must be 2 numbers"),
    ({"size": (32, 8)}, r"toy.size=\(32, 8\): must be >= 16"),
    ({"steps": 0}, "toy.steps=0: must be >= 1"),
    ({"kind": "b", "steps": 6}, "toy.steps=6: at most 5 with toy.kind=b"),
    ({"weights": {"c": -1}}, "toy.weights.c=-1: must be >= 0"),
    ({"weights": 3}, "toy.weights=3: must be names with a number each"),
    (
      {"stepz": 1},
      "unknown config key 'toy.stepz'; the nearest is 'toy.steps'",
    ),
  ],
)
def test_what_is_not_allowed_is_named(changes, message):
  with pytest.raises(ValueError, match=message):
    make(**changes)


def test_a_missing_setting_is_named():
  with pytest.raises(ValueError, match="toy.name is missing from the config"):
    Toy.read({"toy": {k: v for k, v in Toy.defaults().items() if k != "name"}})


def test_a_missing_section_is_named():
  with pytest.raises(ValueError, match="^toy is missing from the config"):
    Toy.read({"toys": {}})


def test_a_mapping_is_a_part_of_a_config_and_of_its_own():
  config = config_dict.ConfigDict({"toy": Toy.defaults()}).lock()
  config.toy.weights.a = 3.0
  read = Toy.read(config)
  assert read.weights == {"a": 3.0, "b": 2}
  assert type(read.weights) is dict
  assert Toy.defaults()["weights"] is not Toy.defaults()["weights"]


def test_nan_is_out_of_any_range():
  with pytest.raises(ValueError, match="toy.rate=nan"):
    make(rate=float("nan"))
