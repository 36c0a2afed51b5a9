"""The device mesh, and how batches and state lie on it.

The mesh has two axes, `data` and `fsdp`. A batch is split over both along its
first axis; the state is whole on each device of the `data` axis, and in parts
on those of the `fsdp` axis. Under `jit` arrays are global: means, batch
statistics and percentiles span the whole batch, and results do not depend on
the mesh.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

DATA_AXIS, FSDP_AXIS = "data", "fsdp"

# Smaller arrays are whole everywhere: gathering them costs more than they do.
_MIN_SPLIT_SIZE = 4096


def create_mesh(
  shape: tuple[int, int] = (-1, 1),
  devices: Sequence[jax.Device] | None = None,
) -> jax.sharding.Mesh:
  """A mesh of the devices.

  Args:
    shape: (data, fsdp); one of the two may be -1, for as many as there are.
    devices: the devices to use; by default those of all processes.

  Raises:
    ValueError: the shape does not fit the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  data, fsdp = shape
  if data == -1 and fsdp > 0:
    data = len(devices) // fsdp
  elif fsdp == -1 and data > 0:
    fsdp = len(devices) // data
  if min(data, fsdp) < 1 or data * fsdp != len(devices):
    raise ValueError(
      f"mesh={tuple(shape)} does not fit {len(devices)} devices: (data, fsdp)"
      " must multiply to that number, or one of the two be -1"
    )
  return jax.make_mesh(
    (data, fsdp),
    (DATA_AXIS, FSDP_AXIS),
    devices=devices,
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def split_batch(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Sharding of an array whose first axis is the global batch."""
  return jax.sharding.NamedSharding(mesh, jax.P((DATA_AXIS, FSDP_AXIS)))


def replicate(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Sharding of an array that is whole on every device."""
  return jax.sharding.NamedSharding(mesh, jax.P())


def keep_split(x: jax.Array) -> jax.Array:
  """Within `jax.set_mesh`: `x` and its gradient stay split by image.

  Without a mesh, `x` as it is. Only needed where the compiler would rather
  move the whole of `x` to suit something smaller.

  Args:
    x: an array whose first axis is the global batch.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, jax.P((DATA_AXIS, FSDP_AXIS)))


def split_axis(
  shape: Sequence[int], axis: int, mesh: jax.sharding.Mesh
) -> jax.sharding.NamedSharding:
  """Sharding of an array split over `fsdp` along one axis, if it divides."""
  parts = mesh.shape[FSDP_AXIS]
  if parts == 1 or shape[axis] % parts or math.prod(shape) < _MIN_SPLIT_SIZE:
    return replicate(mesh)
  axis %= len(shape)
  return jax.sharding.NamedSharding(mesh, jax.P(*[None] * axis, FSDP_AXIS))


def split_largest_axis(
  shape: Sequence[int], mesh: jax.sharding.Mesh
) -> jax.sharding.NamedSharding:
  """Sharding of an array split over `fsdp` along its largest fitting axis."""
  parts = mesh.shape[FSDP_AXIS]
  fitting = [axis for axis, size in enumerate(shape) if size % parts == 0]
  if not fitting:
    return replicate(mesh)
  return split_axis(shape, max(fitting, key=lambda axis: shape[axis]), mesh)


def split_tree(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """`split_largest_axis` of every array, given by its shape."""
  return jax.tree.map(lambda leaf: split_largest_axis(leaf.shape, mesh), tree)


def check_divisible(
  key: str, batch_size: int, mesh: jax.sharding.Mesh, parts: int = 1
) -> None:
  """Raises ValueError if a batch cannot be split evenly over the devices.

  Args:
    key: the config key of the size, for the message.
    batch_size: the size of the global batch.
    mesh: the mesh of all devices.
    parts: how many parts the batch is computed in, one after the other.
  """
  unit = mesh.size * parts
  if batch_size < 1 or batch_size % unit:
    fitting = max(1, round(batch_size / unit)) * unit
    times = f" times optim.accumulate_steps={parts}" if parts > 1 else ""
    raise ValueError(
      f"{key}={batch_size} cannot be split over {mesh.size} devices{times}; the"
      f" nearest size that can is {fitting}"
    )


def to_global(
  batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh
) -> dict[str, jax.Array]:
  """This process's part of a batch as part of global, sharded arrays."""
  sharding = split_batch(mesh)
  return {
    name: jax.make_array_from_process_local_data(sharding, value)
    for name, value in batch.items()
  }


def local_rows(array: jax.Array) -> np.ndarray:
  """This process's part of an array that is split like a batch."""
  shards = sorted(array.addressable_shards, key=lambda s: s.index[0].start or 0)
  return np.concatenate([np.asarray(shard.data) for shard in shards])
