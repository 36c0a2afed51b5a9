import functools

import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods.u2pl_ael import partition

# Percentile p of each image is p / 10, and p / 10 + 100.
ENTROPY = np.float32(np.arange(11.0) + [[[0]], [[100]]])
RULES = {"dropped": "unsure", "thresholds": "scheduled", "scope": "image"}


@functools.cache
def split(**changes):
  found = partition.split(ENTROPY, jnp.float32(10), 20.0, **RULES | changes)
  return {n: np.flatnonzero(getattr(found, n)[1]).tolist() for n in _MASKS}


_MASKS = ("kept", "reliable", "unreliable")
ALL = list(range(11))


def test_paper_teaches_the_sure_and_uses_the_unsure_as_negatives():
  assert split() == {
    "kept": ALL[:10], "reliable": ALL[:10], "unreliable": [10]
  }  # fmt: skip


def test_published_code_drops_the_surest_and_splits_the_rest_at_fixed_places():
  found = split(dropped="sure", thresholds="fixed")
  assert found == {
    "kept": ALL[1:], "reliable": [1, 2], "unreliable": [8, 9, 10]
  }  # fmt: skip


def test_nothing_need_be_dropped():
  assert split(dropped="none")["kept"] == ALL


def test_percentiles_of_the_batch():
  # The whole second image is less sure than the first one.
  assert split(scope="batch")["kept"] == ALL[:8]


@pytest.mark.parametrize(
  "changes, key",
  [
    ({"dropped": "all"}, "ael.dropped='all'"),
    ({"thresholds": "x"}, "ael.thresholds='x'"),
    ({"scope": "gpu"}, "ael.percentiles_by='gpu'"),
  ],
)
def test_unknown_rules_are_refused(changes, key):
  with pytest.raises(ValueError, match=key):
    split(**changes)
