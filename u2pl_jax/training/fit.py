"""Which settings make a step fit into the memory of a device.

Estimates: what a setting saves is only known once the step is compiled with it.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

# Share of a step's temporaries that is left, by the compiler's figures for GPUs
# in docs/scaling.md: with bfloat16 0.56 of ResNet-101 and 0.81 of DINOv2-B,
# whose softmax stays float32; with remat 0.48 and 0.54 of ResNet-101 at 513 and
# 769 px, 0.17 of DINOv2-B. The largest, as what is proposed should fit.
_BFLOAT16 = 0.81
_REMAT = 0.54


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
  """What a step takes of each device, and the settings that it depends on.

  Attributes:
    need: bytes in all.
    state: bytes of the state, a part of `need`.
    devices: number of them.
    fsdp: how many parts the state is in.
    dtype, remat: of the network.
    images: labeled and unlabeled images of each device.
    parts: that a batch is computed in.
  """

  need: int
  state: int
  devices: int
  fsdp: int
  dtype: str
  remat: str
  images: tuple[int, ...]
  parts: int


def suggest(step: Footprint, limit: int) -> list[tuple[str, int]]:
  """Settings, each on top of those before, until a step fits or none is left.

  The first ones change nothing but rounding, the last ones what is trained.

  Args:
    step: that takes too much.
    limit: bytes that a device has.

  Returns:
    Each setting with about how many bytes a device needs then.
  """
  found = []
  for setting, need in _shrink(step):
    found.append((setting, need))
    if need <= limit:
      break
  return found


def largest(
  sizes: Sequence[int], need: Callable[[int], int], limit: int
) -> int | None:
  """The largest size that fits; as few are tried as its growth allows.

  Args:
    sizes: ascending, at least one.
    need: bytes that a size takes; more for a larger one, about linearly.
    limit: bytes that there are.

  Returns:
    One of `sizes`; None where the smallest one does not fit.
  """
  low, high = 0, len(sizes) - 1
  needs = {place: need(sizes[place]) for place in dict.fromkeys((low, high))}
  if needs[low] > limit:
    return None
  if needs[high] <= limit:
    return sizes[high]
  while high - low > 1:
    share = (limit - needs[low]) / (needs[high] - needs[low])
    place = low + int(share * (high - low))
    place = min(max(place, low + 1), high - 1)
    needs[place] = need(sizes[place])
    low, high = (place, high) if needs[place] <= limit else (low, place)
  return sizes[low]


def _shrink(step: Footprint) -> Iterator[tuple[str, int]]:
  state, temporaries = step.state, step.need - step.state
  if step.dtype != "bfloat16":
    temporaries *= _BFLOAT16
    yield "model.dtype=bfloat16", int(state + temporaries)
  if step.remat == "none":
    temporaries *= _REMAT
    yield "model.remat=blocks", int(state + temporaries)
  if step.fsdp < step.devices:
    state *= step.fsdp / step.devices
    yield "mesh=(1, -1)", int(state + temporaries)
  each = math.gcd(*step.images)
  # Batch normalization needs two images.
  for more in (n for n in range(2, each + 1) if not each % n):
    if step.devices * min(step.images) // more < 2:
      break
    yield (
      f"optim.accumulate_steps={step.parts * more}",
      int(state + temporaries / more),
    )
