"""The device mesh, and how batches and state lie on it.

A batch is split over all devices along its first axis; the state is whole on
each. Under `jit` arrays are global: means, batch statistics and percentiles
span the whole batch, and results do not depend on the number of devices.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

DATA_AXIS = "data"


def create_mesh(
  devices: Sequence[jax.Device] | None = None,
) -> jax.sharding.Mesh:
  """The devices on one axis; by default all of all processes."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh(
    (len(devices),),
    (DATA_AXIS,),
    devices=devices,
    axis_types=(jax.sharding.AxisType.Auto,),
  )


def split_batch(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Sharding of an array whose first axis is the global batch."""
  return jax.sharding.NamedSharding(mesh, jax.P(DATA_AXIS))


def replicate(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Sharding of an array that is whole on every device."""
  return jax.sharding.NamedSharding(mesh, jax.P())


def check_divisible(key: str, batch_size: int, mesh: jax.sharding.Mesh) -> None:
  """Raises ValueError if a batch cannot be split evenly over the devices.

  Args:
    key: the config key of the size, for the message.
    batch_size: global.
    mesh: of all devices.
  """
  devices = mesh.size
  if batch_size < 1 or batch_size % devices:
    fitting = max(1, round(batch_size / devices)) * devices
    raise ValueError(
      f"{key}={batch_size} cannot be split over {devices} devices; the nearest"
      f" size that can is {fitting}"
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
