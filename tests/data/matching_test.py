"""Names from elsewhere, and the ids that they mean."""

import pytest

from u2pl_jax.data import matching

INDEX = matching.Index(
  ["a", "x/a", "x/b", "y/b", "deep/x/c", "1", "deep/d/1", "caf\u00e9"]
)


@pytest.mark.parametrize(
  "name, found",
  [
    ("a", ["a"]),
    ("x/a", ["x/a"]),
    ("images/x/a", ["x/a"]),
    ("images/a", ["a"]),
    ("x/c", ["deep/x/c"]),
    ("d/1", ["deep/d/1"]),
    ("b", ["x/b", "y/b"]),
    ("images/y/b", ["y/b"]),
    ("c", ["deep/x/c"]),
    ("z/c", []),
    ("bb", []),
    ("d", []),
    ("cafe\u0301", ["caf\u00e9"]),
  ],
)
def test_the_most_that_fits_is_meant(name, found):
  assert INDEX.find(name) == found


def test_all_that_may_be_meant_are_related():
  assert INDEX.related("a") == ["a", "x/a"]
  assert INDEX.related("images/x/a") == ["a", "x/a"]
