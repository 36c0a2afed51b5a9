"""Settings of the data that do not go together."""

import pytest

from u2pl_jax.data import options


def test_fixed_pairs_need_batches_of_one_size():
  with pytest.raises(ValueError, match="data.pairing=fixed: needs as many"):
    options.DataOptions(pairing="fixed", batch_size_l=4, batch_size_u=8)
  assert options.DataOptions(pairing="fixed", batch_size_l=4, batch_size_u=4)


@pytest.mark.parametrize("key", ["pairing", "resizing", "padding"])
def test_words_that_do_not_exist_are_refused(key):
  with pytest.raises(ValueError, match=f"data.{key}='x': expected one of"):
    options.DataOptions(**{key: "x"})
