"""Settings that the methods share, and what their recipes have in common."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from u2pl_jax.methods import method
from u2pl_jax.runtime import options

# "same_image": other random draws of the image itself; "reversed_batch": of B
# images, image B - 1 - i is the partner of image i.
PARTNERS = ("reversed_batch", "same_image")
# Pixels that OHEM keeps of the images of one GPU.
_MIN_KEPT_PER_GPU = 200_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencyOptions(options.Options):
  """Settings of every method that goes from weak to strong views."""

  SECTION: ClassVar[str] = "consistency"

  # Least confidence of a label that is taught, a probability.
  threshold: float = options.setting(0.95, minimum=0, maximum=1)
  # Of the loss on labeled images.
  supervised_weight: float = options.setting(0.5, minimum=0)
  # Groups of consecutive images that a batch, or a part of it with
  # `optim.accumulate_steps`, is cut into. Losses are means over the groups of
  # what each would have by itself, and CutMix stays within a group.
  groups: int = options.setting(1, minimum=1)

  def check_batch(self, parts: method.Parts, *, needs_pairs: bool) -> None:
    """Raises ValueError if the batch cannot be cut into these groups.

    Args:
      parts: of the run.
      needs_pairs: whether an unlabeled image needs another one in its group.
    """
    number = self.groups * parts.accumulate_steps
    for name in ("batch_size_l", "batch_size_u"):
      size = getattr(parts, name)
      if size % number:
        raise ValueError(
          f"{self.key('groups')}={self.groups}: data.{name}={size} must be a"
          f" multiple of {number}, groups times optim.accumulate_steps"
        )
    if needs_pairs and parts.batch_size_u < 2 * number:
      raise ValueError(
        f"data.batch_size_u={parts.batch_size_u}: CutMix and complementary"
        " dropout need 2 unlabeled images in each group; set it to"
        f" {2 * number} or more, or {self.key('groups')} to less"
      )


def recipes(
  published: method.Published,
  *,
  mesh: Mapping[str, Any] | None = None,
  reference: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
  """Presets: means over the whole batch, or as the published code has it.

  Args:
    published: how that was run.
    mesh, reference: keys of one method, beside those of all.
  """
  groups = published.batch_size_l // published.images_per_gpu
  return {
    "mesh": {
      "consistency.groups": 1,
      "loss.ohem_min_kept": _MIN_KEPT_PER_GPU * groups,
      "optim.late_rate": False,
      "data.pairing": "independent",
      **(mesh or {}),
    },
    "reference": {
      "consistency.groups": groups,
      "loss.ohem_min_kept": _MIN_KEPT_PER_GPU,
      "optim.late_rate": True,
      "data.pairing": "fixed",
      **(reference or {}),
    },
  }
