"""Settings of the evaluation on the validation set."""

import dataclasses
from typing import ClassVar

from u2pl_jax.evaluation import inference
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.runtime import options

MIN_SIDE = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalOptions(options.Options):
  """What of the images is seen, when, and how many at a time."""

  SECTION: ClassVar[str] = "eval"

  # "crop": the center; "whole": images at their own size; "slide": windows.
  protocol: str = options.setting("crop", choices=protocol_lib.KINDS)
  # Of the center crop or the windows.
  crop_size: tuple[int, int] = options.setting(
    (513, 513), length=2, minimum=MIN_SIDE
  )
  # Images are seen at each, and the logits are averaged.
  scales: tuple[float, ...] = (1.0,)
  # Also mirrored.
  flip: bool = False
  # Long side at scale 1, pixels; 0: the image's own.
  base_size: int = 0
  # Stride of windows divided by their side.
  stride_rate: float = inference.STRIDE_RATE
  # How they are laid and put together.
  windows: str = options.setting("averaged", choices=inference.WINDOW_RULES)
  # "whole", "slide": images are padded to so many shapes.
  max_shapes: int = options.setting(8, minimum=1)
  # Between evaluations.
  every_epochs: int = options.setting(1, minimum=1)
  # Images, all devices.
  batch_size: int = 16
  # Shown in TensorBoard.
  num_images: int = options.setting(4, minimum=0)

  def check(self):
    self.create_protocol()

  def create_protocol(self) -> protocol_lib.Protocol:
    """How logits of an image come about.

    Raises:
      ValueError: settings do not go together; one line that names a key.
    """
    return protocol_lib.Protocol(
      kind=self.protocol,
      window=self.crop_size,
      scales=self.scales,
      flip=self.flip,
      base_size=self.base_size,
      stride_rate=self.stride_rate,
      windows=self.windows,
    )
