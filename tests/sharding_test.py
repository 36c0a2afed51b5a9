import jax
import numpy as np
import pytest

from u2pl_jax import sharding


def test_mesh_has_all_devices():
  assert sharding.create_mesh().size == jax.device_count() == 8


def test_batch_is_split_over_its_first_axis():
  mesh = sharding.create_mesh()
  batch = sharding.to_global({"x": np.arange(16.0).reshape(8, 2)}, mesh)
  shards = batch["x"].addressable_shards
  assert [shard.data.shape for shard in shards] == [(1, 2)] * 8
  np.testing.assert_array_equal(batch["x"], np.arange(16.0).reshape(8, 2))


def test_what_is_replicated_is_whole_on_every_device():
  mesh = sharding.create_mesh()
  made = jax.device_put(np.float32(1), sharding.replicate(mesh))
  assert len(made.addressable_shards) == 8
  assert made.is_fully_replicated


def test_a_batch_that_divides_is_accepted():
  sharding.check_divisible("eval.batch_size", 16, sharding.create_mesh())


@pytest.mark.parametrize("size, nearest", [(9, 8), (0, 8), (13, 16)])
def test_a_batch_that_does_not_divide_is_refused(size, nearest):
  with pytest.raises(
    ValueError, match=f"eval.batch_size={size} .* is {nearest}"
  ):
    sharding.check_divisible("eval.batch_size", size, sharding.create_mesh())
