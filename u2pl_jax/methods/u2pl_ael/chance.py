"""What is random in a step of AEL, in one place.

Every draw is a method, so that a test can put recorded ones in their place.
"""

import jax

from u2pl_jax.methods.u2pl_ael import boxes, copy_paste
from u2pl_jax.ops import sampling


class Chance:
  """The draws of a step."""

  def pasted_classes(
    self, key: jax.Array, probability: jax.Array, batch_size: int, draws: int
  ) -> jax.Array:
    """[B, K] bool, see `copy_paste.draw_classes`."""
    return copy_paste.draw_classes(key, probability, batch_size, draws)

  def boxes(
    self,
    key: jax.Array,
    labels: jax.Array,
    classes: jax.Array,
    min_share: float,
  ) -> jax.Array:
    """[B, 4] int32, see `boxes.choose_box`.

    Args:
      key: PRNG key.
      labels: [B, H, W] int32, predicted for the second images.
      classes: [B] int32.
      min_share: of a component.
    """
    choose = jax.vmap(boxes.choose_box, in_axes=(0, 0, 0, None))
    return choose(
      jax.random.split(key, len(labels)), labels, classes, min_share
    )

  def uniform(
    self, key: jax.Array, labeled: tuple[int, ...], mixed: tuple[int, ...]
  ) -> tuple[jax.Array, jax.Array]:
    """Numbers in [0, 1) for each pixel of labeled and of mixed images."""
    key_l, key_u = jax.random.split(key)
    return jax.random.uniform(key_l, labeled), jax.random.uniform(key_u, mixed)

  def ranks(
    self, key: jax.Array, count: jax.Array, shape: tuple[int, ...]
  ) -> jax.Array:
    """Of anchors and negatives, see `sampling.draw_ranks`."""
    return sampling.draw_ranks(key, count, shape)
