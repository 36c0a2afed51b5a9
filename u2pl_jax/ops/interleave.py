"""One batch of labeled and unlabeled images, in an order devices agree on.

A batch is split over the devices along its first axis, so each holds a part of
the labeled and a part of the unlabeled images. Were one half put behind the
other, half of the images would have to move to another device. They are
interleaved instead, in as many groups as both sizes divide into, which no
number of devices that divides both sizes cuts; the order does not depend on
that number.
"""

import math

import jax
import jax.numpy as jnp


def join(labeled: jax.Array, unlabeled: jax.Array) -> jax.Array:
  """Interleaves: of 4 and 2 images l l u l l u.

  Args:
    labeled: [B_l, ...].
    unlabeled: [B_u, ...].

  Returns:
    [B_l + B_u, ...].
  """
  groups = math.gcd(len(labeled), len(unlabeled))
  shape = labeled.shape[1:]
  parts = [x.reshape(groups, -1, *shape) for x in (labeled, unlabeled)]
  return jnp.concatenate(parts, axis=1).reshape(-1, *shape)


def part(batch: jax.Array, num_labeled: int) -> tuple[jax.Array, jax.Array]:
  """The labeled and the unlabeled images of a batch that `join` made.

  Args:
    batch: [B, ...].
    num_labeled: B_l, between 1 and B - 1.
  """
  num_unlabeled = len(batch) - num_labeled
  groups = math.gcd(num_labeled, num_unlabeled)
  shape = batch.shape[1:]
  batch = batch.reshape(groups, -1, *shape)
  labeled, unlabeled = jnp.split(batch, [num_labeled // groups], axis=1)
  return labeled.reshape(-1, *shape), unlabeled.reshape(-1, *shape)
