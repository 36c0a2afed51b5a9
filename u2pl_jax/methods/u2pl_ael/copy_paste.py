"""Pixels of drawn classes, copied from one labeled image into another.

Reference for all: algorithm sections 5.2 and 5.3; AEL section 3.2.
"""

import difflib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def find_allowed(
  excluded: Sequence[str | int], class_names: Sequence[str]
) -> np.ndarray:
  """The classes that may be pasted.

  Args:
    excluded: those that may not, by name or number.
    class_names: of all K.

  Returns:
    [K] bool.

  Raises:
    ValueError: there is no such class, or none is left; one line.
  """
  key, names = "ael.excluded", list(class_names)
  allowed = np.ones(len(names), bool)
  for word in excluded:
    if isinstance(word, str) and word not in names:
      near = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
      raise ValueError(
        f"{key} names {word!r}, which is no class of the dataset; the nearest"
        f" is {near[0]!r}"
      )
    number = names.index(word) if isinstance(word, str) else word
    if not 0 <= number < len(names):
      raise ValueError(
        f"{key}={tuple(excluded)} holds class {number}, but the dataset has"
        f" {len(names)} classes, 0 to {len(names) - 1}: name those of this"
        " dataset that are never to be pasted"
      )
    allowed[number] = False
  if not allowed.any():
    raise ValueError(
      f"{key}={tuple(excluded)} leaves no class to paste; shorten it, or set"
      " ael.copy_paste_probability=0"
    )
  return allowed


def draw_classes(
  key: jax.Array, probability: jax.Array, batch_size: int, draws: int
) -> jax.Array:
  """The classes to be pasted into each image.

  Args:
    key: PRNG key.
    probability: [K] float32.
    batch_size: B.
    draws: of each image, with replacement; duplicates collapse.

  Returns:
    [B, K] bool.
  """
  drawn = jax.random.categorical(
    key, jnp.log(probability), shape=(batch_size, draws)
  )
  return jnp.any(drawn[..., None] == jnp.arange(probability.size), axis=1)


def paste(
  images: jax.Array,
  labels: jax.Array,
  partner_images: jax.Array,
  partner_labels: jax.Array,
  chosen: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Replaces pixels where the partner shows one of the chosen classes.

  Args:
    images, partner_images: [B, H, W, 3], of the same dtype.
    labels, partner_labels: [B, H, W] int32. A partner label of zeros alone
      stands for no partner.
    chosen: [B, K] bool.

  Returns:
    Images and labels, and [B, H, W] bool, where pixels were replaced.
  """
  look_up = jax.vmap(
    lambda row, at: jnp.take(row, at, mode="fill", fill_value=False)
  )
  has_partner = jnp.any(partner_labels != 0, axis=(1, 2), keepdims=True)
  pasted = look_up(chosen, partner_labels) & has_partner
  return (
    jnp.where(pasted[..., None], partner_images, images),
    jnp.where(pasted, partner_labels, labels),
    pasted,
  )
