"""First-in-first-out queues of keys that wrap and overflow."""

import re

import jax
import numpy as np

from tests import held_keys
from tests.parity import golden
from u2pl_jax.methods.u2pl import memory_bank

_push = jax.jit(memory_bank.push)


def _padded(pushed):
  """keys [K, R, D] and valid [K, R] of R rows, the longest of all pushes."""
  rows = max(len(keys) for step in pushed for keys in step)
  for step in pushed:
    keys = [np.pad(k, ((0, rows - len(k)), (0, 0))) for k in step]
    yield np.stack(keys), np.arange(rows) < [[len(k)] for k in step]


@golden.every_file("paper_queue")
def test_holds_the_newest_keys_after_every_push(path):
  arrays = golden.load(path)
  capacity = arrays["capacity"]
  steps = [re.fullmatch(r"push(\d+)_class0", name) for name in arrays]
  steps = sorted(int(match[1]) for match in steps if match)
  assert steps
  pushed = [
    [arrays[f"push{step}_class{c}"] for c in range(len(capacity))]
    for step in steps
  ]
  bank = memory_bank.create_memory_bank(capacity, pushed[0][0].shape[1])
  for step, (keys, valid) in zip(steps, _padded(pushed), strict=True):
    bank = _push(bank, keys, valid)
    for c, held in enumerate(held_keys.of_each_class(bank)):
      np.testing.assert_array_equal(held, arrays[f"held{step}_class{c}"])
