"""A vision transformer that returns the outputs of some of its blocks."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from u2pl_jax.models import layers
from u2pl_jax.models.vit import blocks
from u2pl_jax.ops import bicubic

PATCH = 14  # Side of a patch, pixels.
DROP_PATH_KINDS = ("linear", "uniform")
# How positions are resized to other sizes than that of training: arguments of
# `bicubic.resize_table`.
RESIZINGS = {
  "offset": {"offset": 0.1},  # Plain models, and UniMatch V2.
  "antialiased": {"antialias": True},  # Models with registers.
  "plain": {},  # No published model.
}
_EXTRA_TOKEN_STD = 1e-6  # Of class token and registers, as they are drawn.


def resize_positions(
  table: jax.Array, size: Sequence[int], resizing: str
) -> jax.Array:
  """Positions of the patches of an image of another size.

  Args:
    table: [M * M, D], of the images of training, row by row.
    size: patches along (height, width).
    resizing: one of `RESIZINGS`.

  Returns:
    float32 [height * width, D]; the table itself where the size is (M, M). As
    many patches in another shape do not count.
  """
  grid = math.isqrt(len(table))
  if tuple(size) == (grid, grid):
    return table
  squares = table.reshape(grid, grid, -1)
  resized = bicubic.resize_table(squares, size, **RESIZINGS[resizing])
  return resized.reshape(-1, table.shape[-1])


class Transformer(nn.Module):
  """A pre-norm vision transformer.

  Attributes:
    width: D, channels of each token.
    depth: number of blocks.
    num_heads: of attention; D is a multiple of it.
    taken: indices of the blocks, ascending, whose outputs are the features.
    grid: M; positions are a table of M x M, and resized for other images.
    feed_forward: "mlp" or "swiglu".
    num_registers: tokens without a position, after the class token.
    resizing: one of `RESIZINGS`.
    drop_path, drop_path_kind: see the options of the encoders.
    keep_scores: keep the softmax of attention for the backward pass.
    use_bias: of attention and feed-forward.
    layer_scale: whether residuals are scaled by channel.
    dtype: compute dtype; parameters are float32, norms, softmax and positions
      are computed in float32.
    remat: compute the blocks again in the backward pass.

  Reference: dinov2/models/vision_transformer.py, `DinoVisionTransformer`.
  """

  width: int
  depth: int
  num_heads: int
  taken: tuple[int, ...]
  grid: int
  feed_forward: str = "mlp"
  num_registers: int = 0
  resizing: str = "offset"
  drop_path: float = 0.0
  drop_path_kind: str = "linear"
  keep_scores: bool = True
  use_bias: bool = True
  layer_scale: bool = True
  dtype: Any = jnp.float32
  remat: bool = False

  @property
  def strides(self) -> tuple[int, ...]:
    """Input pixels per pixel of each feature, the same for all."""
    return (PATCH,) * len(self.taken)

  @property
  def widths(self) -> tuple[int, ...]:
    """Channels of each feature."""
    return (self.width,) * len(self.taken)

  def setup(self):
    fan_in = 3 * PATCH**2
    self.patch_embed = nn.Conv(
      self.width,
      (PATCH, PATCH),
      strides=PATCH,
      padding="VALID",
      dtype=self.dtype,
      kernel_init=layers.uniform_fan_in(fan_in),
      bias_init=layers.uniform_fan_in(fan_in),
    )
    extra = nn.initializers.normal(_EXTRA_TOKEN_STD)
    shape = (1, 1, self.width)
    self.cls_token = self.param("cls_token", extra, shape)
    self.pos_embed = self.param(
      "pos_embed",
      nn.initializers.normal(blocks.INIT_STD),
      (1, 1 + self.grid**2, self.width),
    )
    if self.num_registers:
      shape = (1, self.num_registers, self.width)
      self.register_tokens = self.param("register_tokens", extra, shape)
    self.mask_token = self.param(
      "mask_token", nn.initializers.zeros, (1, self.width)
    )
    self.blocks = [
      blocks.Block(
        num_heads=self.num_heads,
        feed_forward=self.feed_forward,
        use_bias=self.use_bias,
        layer_scale=self.layer_scale,
        drop_rate=float(rate),
        keep_scores=self.keep_scores,
        dtype=self.dtype,
      )
      for rate in self._drop_rates()
    ]
    self.norm = blocks.LayerNorm(self.dtype)

  def _drop_rates(self) -> np.ndarray:
    """Of all blocks."""
    first = 0.0 if self.drop_path_kind == "linear" else self.drop_path
    return np.linspace(first, self.drop_path, self.depth)

  def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
    """Encodes images [B, H, W, 3].

    Args:
      images: float, normalized; the sides are multiples of `PATCH`.
      train: drop residuals, where `drop_path` says so, with the rng stream
        "dropout".

    Returns:
      The patches of the blocks `taken`, after the last norm, in `dtype`:
      [B, H / PATCH, W / PATCH, D] each.

    Raises:
      ValueError: a side is no multiple.
    """
    tokens = self.run_blocks(self.embed(images), train=train)
    size = [side // PATCH for side in images.shape[1:3]]
    return [
      self.norm(tokens[index][:, -size[0] * size[1] :]).reshape(
        images.shape[0], *size, self.width
      )
      for index in self.taken
    ]

  def embed(
    self, images: jax.Array, masked: jax.Array | None = None
  ) -> jax.Array:
    """The tokens that the first block reads.

    Args:
      images: see `__call__`.
      masked: bool [B, N], the patches that the mask token replaces, as in
        pre-training; None for none.

    Returns:
      [B, n, D] in `dtype`; n = 1 + registers + N.

    Raises:
      ValueError: a side is no multiple of `PATCH`.
    """
    if images.shape[1] % PATCH or images.shape[2] % PATCH:
      raise ValueError(
        f"images of {images.shape[1]} x {images.shape[2]} px: both sides must"
        f" be multiples of {PATCH}"
      )
    x = self.patch_embed(images.astype(self.dtype))
    positions = resize_positions(
      self.pos_embed[0, 1:], x.shape[1:3], self.resizing
    )
    batch = x.shape[0]  # Maybe a symbol, which `len` does not give.
    x = x.reshape(batch, -1, self.width)
    if masked is not None:
      x = jnp.where(masked[..., None], self.mask_token.astype(self.dtype), x)
    first = [jnp.broadcast_to(self.cls_token, (batch, 1, self.width))]
    first[0] = first[0] + self.pos_embed[:, :1]
    if self.num_registers:
      registers = self.register_tokens
      first.append(jnp.broadcast_to(registers, (batch, *registers.shape[1:])))
    first = [tokens.astype(self.dtype) for tokens in first]
    return jnp.concatenate([*first, x + positions.astype(self.dtype)], axis=1)

  def run_blocks(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
    """The outputs of all blocks, [B, n, D] each, of tokens [B, n, D]."""
    outputs = []
    for block in self.blocks:
      x = layers.run_block(block, x, train=train, remat=self.remat)
      outputs.append(x)
    return outputs
