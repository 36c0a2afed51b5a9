import jax
import numpy as np
import pytest

from u2pl_jax.runtime import sharding


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


@pytest.mark.parametrize(
  "shape, expected",
  [((-1, 1), (8, 1)), ((-1, 4), (2, 4)), ((2, -1), (2, 4)), ((1, 8), (1, 8))],
)
def test_minus_one_stands_for_all_other_devices(shape, expected):
  mesh = sharding.create_mesh(shape)
  assert (mesh.shape["data"], mesh.shape["fsdp"]) == expected


@pytest.mark.parametrize("shape", [(3, 2), (-1, 3), (0, 8), (-1, -1), (16, 1)])
def test_a_mesh_of_another_number_of_devices_is_refused(shape):
  with pytest.raises(ValueError, match=r"mesh=\(.*\) does not fit 8 devices"):
    sharding.create_mesh(shape)


def test_a_batch_is_split_over_both_axes():
  mesh = sharding.create_mesh((2, 4))
  batch = sharding.to_global({"x": np.arange(8)}, mesh)
  assert [shard.data.shape for shard in batch["x"].addressable_shards] == (
    [(1,)] * 8
  )


@pytest.mark.parametrize(
  "shape, expected",
  [
    ((3, 3, 64, 256), (None, None, None, "fsdp")),
    ((1, 1, 2048, 256), (None, None, "fsdp")),
    ((8192, 3), ("fsdp",)),
    ((8190, 6), ()),  # Neither axis divides by 4.
    ((64,), ()),  # Too small to be worth it.
  ],
  ids=str,
)
def test_the_largest_axis_that_divides_is_split(shape, expected):
  mesh = sharding.create_mesh((2, 4))
  assert sharding.split_largest_axis(shape, mesh).spec == jax.P(*expected)
  assert sharding.split_largest_axis(
    shape, sharding.create_mesh((8, 1))
  ).is_fully_replicated


def test_one_named_axis_is_split():
  mesh = sharding.create_mesh((2, 4))
  spec = sharding.split_axis((50_000, 32), -1, mesh).spec
  assert spec == jax.P(None, "fsdp")
  assert sharding.split_axis((50_000, 6), -1, mesh).is_fully_replicated


def test_without_a_mesh_an_array_may_lie_anywhere():
  x = jax.numpy.ones((8, 3))
  assert sharding.keep_split(x) is x


def test_within_a_mesh_an_array_stays_split_by_image():
  mesh = sharding.create_mesh((2, 4))
  with jax.set_mesh(mesh):
    x = jax.jit(sharding.keep_split)(np.ones((8, 3), np.float32))
  assert x.sharding.is_equivalent_to(sharding.split_batch(mesh), 2)
