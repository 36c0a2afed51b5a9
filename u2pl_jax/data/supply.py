"""What the batches of a run hold beside labeled images.

A phase of a method says what it needs; pipeline, training step and dry run go
by the same description.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

SECONDS = ("", "same", "requested")
# Batches that are put on the devices while the one before them is used.
AHEAD = 1
# So that no step waits for what is asked for: the batch after the next one is
# drawn before a step begins, when the step before that one may still run.
MIN_LAG = AHEAD + 1


@dataclasses.dataclass(frozen=True)
class Partner:
  """A second labeled image for some of those of a batch.

  It is any of the labeled list, drawn anew for each image.

  Attributes:
    probability: that an image has one.
    scale_range: of its random resizing, as `data.scale_range`.
  """

  probability: float
  scale_range: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Supply:
  """The arrays of a batch beside `image_l` and `label_l`.

  Images are uint8 [B_u, H, W, 3] or [B_l, H, W, 3], maps uint8 of the same
  pixels, and numbers int32 [B_u].

  Attributes:
    unlabeled: `image_u`, the unlabeled images.
    padding: `padding_u`, 1 where a crop shows padding and 0 elsewhere; and
      `padding_u2` where there is a second image.
    positions: `position_u`, the place of each image in the unlabeled list; and
      `position_u2` where there is a second image.
    second: `image_u2`, "same" for the same images under other random draws,
      "requested" for those that the method asked for, see `Method.requests`;
      "" for none.
    requests: further numbers that the method asked for with the second image,
      by name, and gets back with it.
    lag: how many steps more than the next one are asked for in advance.
    partner: `image_p` and `label_p`, of the labeled images; the label is 0
      everywhere where an image has no partner.
  """

  unlabeled: bool = False
  padding: bool = False
  positions: bool = False
  second: str = ""
  requests: tuple[str, ...] = ()
  lag: int = 0
  partner: Partner | None = None

  def __post_init__(self):
    assert self.second in SECONDS, self.second
    needs_unlabeled = self.padding or self.positions or self.second
    assert self.unlabeled or not needs_unlabeled, self

  @property
  def is_requested(self) -> bool:
    """Whether a batch depends on the state of the run."""
    return self.second == "requested"

  @property
  def suffixes(self) -> tuple[str, ...]:
    """Of the arrays of unlabeled images: "u", "u2".

    `label_u` and `label_u2` are there where `data.unlabeled_masks` asks for
    them; no method sees them, see `Method.review`.
    """
    return ("u",) * self.unlabeled + ("u2",) * bool(self.second)

  @property
  def numbers(self) -> tuple[str, ...]:
    """Names of the int32 arrays [B_u]."""
    names = {f"position_{suffix}" for suffix in self.suffixes * self.positions}
    names |= {"position_u2", *self.requests} if self.is_requested else set()
    return tuple(sorted(names))


def check_lag(key: str, lag: int) -> None:
  """Raises ValueError, one line, for a lag with which steps would wait.

  Args:
    key: of the config.
    lag: of `Supply`; 0 is allowed, for which nothing is put ahead.
  """
  if 0 < lag < MIN_LAG:
    raise ValueError(
      f"{key}={lag}: batches are drawn {MIN_LAG} steps ahead; use {MIN_LAG} or"
      " more, or 0 for steps that wait for their images"
    )


def of_run(supplies: Iterable[Supply]) -> Supply:
  """That of a run, whose phases share one stream of batches.

  Args:
    supplies: of the phases; one of them holds what all the others do.
  """
  return max(supplies, key=lambda each: sum(map(bool, _values(each))))


def _values(supply: Supply) -> tuple[Any, ...]:
  return tuple(getattr(supply, f.name) for f in dataclasses.fields(supply))
