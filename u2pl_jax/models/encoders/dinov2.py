"""DINOv2's vision transformers, plain and with registers.

The tokens of an image are, in this order, the class token, the registers and
the patches row by row. What the network is made of stands in `vit`.

Reference: Oquab et al. 2023 (arXiv 2304.07193), Darcet et al. 2023 (arXiv
  2309.16588); github.com/facebookresearch/dinov2, commit b8931f7.
"""

import collections
import dataclasses
import re
import statistics
from collections.abc import Mapping
from typing import Any, ClassVar

from u2pl_jax.models.vit import transformer
from u2pl_jax.ops import normalize
from u2pl_jax.runtime import options as options_lib

# Of the hub models: width, blocks, and those whose outputs are features.
SIZES = {
  "s": (384, 12, (2, 5, 8, 11)),
  "b": (768, 12, (2, 5, 8, 11)),
  "l": (1024, 24, (4, 11, 17, 23)),
  "g": (1536, 40, (9, 19, 29, 39)),
}
HEAD_WIDTH = 64
GRID = 37  # Patches on a side of the images of 518 px that it was trained on.
NUM_REGISTERS = 4
_REGISTERS = "_reg"  # Ends the names of those that have them.
NAMES = tuple(
  f"dinov2_vit{size}{transformer.PATCH}{ending}"
  for size in SIZES
  for ending in ("", _REGISTERS)
)
MEAN_RGB, STD_RGB = normalize.MEAN_RGB, normalize.STD_RGB
MULTIPLE = transformer.PATCH
# Only pre-training hides patches behind it.
IDLE = ("mask_token",)
# As UniMatch V2 trains it.
GOES_WITH = {
  "model.decoder": "dpt",
  "optim.kind": "adamw",
  "optim.learning_rate": 5e-6,
  "optim.factors.head": 40.0,
  "optim.weight_decay": 0.01,
}

TORCH_RULES = (
  (r"patch_embed", r"patch_embed.proj"),
  (r"blocks_(\d+)/(norm\d|ls\d)", r"blocks.\1.\2"),
  (r"blocks_(\d+)/(attn|mlp)/(\w+)", r"blocks.\1.\2.\3"),
  (r"norm", r"norm"),
)
TORCH_SIGN = r"patch_embed\.proj\."
# Heads of DINOv2's own training.
TORCH_CLASSIFIER = ("dino_head.", "ibot_head.")
# Its files call the encoder "backbone", and cut the blocks into chunks.
TORCH_ALIASES = (
  (r"backbone\.(.+)", r"\1"),
  (r"blocks\.\d+\.(\d+\..+)", r"blocks.\1"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Options of a DINOv2 encoder."""

  SECTION: ClassVar[str] = "encoder"

  # Probability, in [0, 1), that training leaves a block's residual out.
  drop_path: float = 0.0
  # "linear": of the last block, rising from 0; "uniform": of all blocks.
  drop_path_kind: str = options_lib.setting(
    "linear", choices=transformer.DROP_PATH_KINDS
  )
  # Keep the N x N weights of attention for the backward pass; False computes
  # them again there, which takes less memory.
  keep_scores: bool = True

  def check(self) -> None:
    if not 0 <= self.drop_path < 1:
      raise ValueError(f"encoder.drop_path={self.drop_path}: must be in [0, 1)")


def create(
  name: str, options: Options, *, dtype: Any, remat: bool
) -> transformer.Transformer:
  """Builds one; see `transformer.Transformer`."""
  size, has_registers = _read_name(name)
  width, depth, taken = SIZES[size]
  return transformer.Transformer(
    width=width,
    depth=depth,
    num_heads=width // HEAD_WIDTH,
    taken=taken,
    grid=GRID,
    feed_forward="swiglu" if size == "g" else "mlp",
    num_registers=NUM_REGISTERS if has_registers else 0,
    resizing="antialiased" if has_registers else "offset",
    dtype=dtype,
    remat=remat,
    **options.to_section(),
  )


def list_layers(name: str, options: Options) -> tuple[tuple[str, ...], ...]:
  """Patches, positions and tokens; the blocks one by one; the last norm."""
  del options
  size, has_registers = _read_name(name)
  first = ("patch_embed", "cls_token", "pos_embed", "mask_token")
  blocks = tuple((f"blocks_{index}",) for index in range(SIZES[size][1]))
  return (first + ("register_tokens",) * has_registers, *blocks, ("norm",))


def _read_name(name: str) -> tuple[str, bool]:
  """Size, and whether there are registers."""
  size = name.removeprefix("dinov2_vit")[0]
  return size, name.endswith(_REGISTERS)


def recognize(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
  """Tells size and registers; see `models.encoders`.

  Single faulty entries are outvoted by the others.

  Raises:
    ValueError: no hub model has such a width or so many blocks.
  """
  widths, blocks = [], collections.Counter()
  for name, shape in shapes.items():
    match = re.match(r"blocks\.(\d+)\.(?:norm|ls)\d\.", name)
    if match and len(shape) == 1:
      widths.append(shape[0])
      blocks[int(match[1])] += 1
  width, depth = statistics.mode(widths or [0]), max(blocks, default=-1) + 1
  for size, (known_width, known_depth, _) in SIZES.items():
    if (width, depth) == (known_width, known_depth):
      ending = _REGISTERS if "register_tokens" in shapes else ""
      return f"dinov2_vit{size}{transformer.PATCH}{ending}", {}, ()
  known = ", ".join(f"{w} x {d}" for w, d, _ in SIZES.values())
  raise ValueError(
    f"a vision transformer of width {width} with {depth} blocks; known ones:"
    f" {known}"
  )
