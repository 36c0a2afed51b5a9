"""Evaluation protocols: what of an image is seen, at which scales, mirrored.

crop   the center crop that training uses to watch itself
whole  the image at its own size (published on PASCAL VOC)
slide  windows with a stride of 2/3 (published on Cityscapes), by one of three
       rules, see `inference.WINDOW_RULES`
"""

import dataclasses

import jax

from u2pl_jax.evaluation import inference
from u2pl_jax.models import forward

KINDS = ("crop", "whole", "slide")


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How logits of an image come about.

  Attributes:
    kind: one of `KINDS`.
    window: (height, width) in pixels, of the center crop or the windows.
    scales: the image is seen at each, and the logits are averaged.
    flip: also mirrored left to right, at each scale.
    base_size: long side in pixels at scale 1; 0 for the image's own.
    stride_rate: stride of the windows divided by their side, in (0, 1].
    windows: one of `inference.WINDOW_RULES`.
  """

  kind: str
  window: tuple[int, int]
  scales: tuple[float, ...] = (1.0,)
  flip: bool = False
  base_size: int = 0
  stride_rate: float = inference.STRIDE_RATE
  windows: str = "averaged"

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(
        f"eval.protocol={self.kind!r}: expected one of {', '.join(KINDS)}"
      )
    if not self.scales or min(self.scales) <= 0:
      raise ValueError(f"eval.scales={self.scales}: must be positive numbers")
    if not 0 < self.stride_rate <= 1:
      raise ValueError(
        f"eval.stride_rate={self.stride_rate}: must be in (0, 1]"
      )
    if self.base_size < 0 or (self.base_size and self.kind == "crop"):
      raise ValueError(
        f"eval.base_size={self.base_size}: must be >= 0, and 0 with"
        " eval.protocol=crop"
      )

    if self.windows not in inference.WINDOW_RULES:
      raise ValueError(
        f"eval.windows={self.windows!r}: expected one of"
        f" {', '.join(inference.WINDOW_RULES)}"
      )

  @property
  def name(self) -> str:
    """Stands before each metric, like "crop" or "slide_0.75_1_1.25_flip"."""
    words = [self.kind]
    if self.base_size:
      words.append(f"base{self.base_size}")
    if self.kind == "slide" and self.stride_rate != inference.STRIDE_RATE:
      words.append(f"stride{self.stride_rate:g}")
    if self.kind == "slide" and self.windows != "averaged":
      words.append(self.windows)
    if self.scales != (1.0,):
      words += [f"{scale:g}" for scale in self.scales]
    return "_".join(words + ["flip"] * self.flip)

  @property
  def long_name(self) -> str:
    """The name, and the size of the crop or the windows."""
    if self.kind == "whole":
      return self.name
    return f"{self.name}_{self.window[0]}x{self.window[1]}"

  @property
  def crop_size(self) -> tuple[int, int] | None:
    """(height, width) that an image is cropped to before; None for not."""
    return self.window if self.kind == "crop" else None

  def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) at each scale, of images of one size."""
    if not self.base_size:
      return [inference.scaled_size(size, scale) for scale in self.scales]
    return [
      inference.long_side_size(size, round(scale * self.base_size))
      for scale in self.scales
    ]

  def compute_logits(self, net: forward.Net, images: jax.Array) -> jax.Array:
    """The mean of the logits at all scales, mirrored ones too if asked for.

    Args:
      net: see `forward.Net`.
      images: [B, H, W, 3] float, normalized; cropped already.

    Returns:
      [B, H, W, K] float32.

    Reference: u2pl eval.py, `validate_city` and `valiadte_whole`.
    """

    def of_scale(images):
      if self.kind != "slide":
        return net(images)
      return inference.slide(
        net,
        images,
        self.window,
        stride_rate=self.stride_rate,
        rule=self.windows,
      )

    def of_view(images):
      if not self.flip:
        return of_scale(images)
      mirrored = of_scale(images[:, :, ::-1])[:, :, ::-1]
      return (of_scale(images) + mirrored) / 2

    sizes = self.sizes(images.shape[1:3])
    return inference.sum_scales(of_view, images, sizes) / len(sizes)
