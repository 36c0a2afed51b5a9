"""Which values config keys may have; checked before anything is done."""

import math
from collections.abc import Mapping
from typing import Any

from u2pl_jax.losses import contrastive, pixelwise
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import contrast, partition
from u2pl_jax.ops import mixing
from u2pl_jax.runtime import workdir
from u2pl_jax.training import step_options, train_state

_CHOICES = {
  "method": ("u2pl", "suponly"),
  "augment.mode": mixing.MODES,
  "loss.kind": pixelwise.KINDS,
  "semi.reliable": partition.RELIABLE_RULES,
  "semi.schedule_by": timeline_lib.SCHEDULE_UNITS,
  "semi.teacher_batch_stats": step_options.STATISTICS_POLICIES,
  "semi.teacher_first_epoch": timeline_lib.FIRST_EPOCH_POLICIES,
  "semi.teacher_init": train_state.TEACHER_INITS,
  "contrast.bank_dtype": ("float32", "bfloat16"),
  "contrast.divide_by": contrastive.DIVISORS,
  "contrast.positive": contrast.POSITIVES,
}
_RANGES = {
  "seed": (0, math.inf),
  "augment.probability": (0, 1),
  "data.flip_prob": (0, 1),
  "data.pad_label": (0, 255),
  "data.num_workers": (0, math.inf),
  "model.dropout_rate": (0, 1),
  "optim.momentum": (0, 1),
  "semi.drop_percent": (0, 100),
  "semi.unreliable_percent": (0, 100),
  "semi.ema_decay": (0, 1),
  "loss.ohem_threshold": (0, 1),
  "optim.accumulate_steps": (1, math.inf),
  "train.log_every_steps": (1, math.inf),
  "train.max_bad_steps": (1, math.inf),
  "eval.every_epochs": (1, math.inf),
  "eval.num_images": (0, math.inf),
  "eval.max_shapes": (1, math.inf),
  "contrast.weight": (0, math.inf),
  "checkpoint.keep_last": (1, math.inf),
  "checkpoint.every_steps": (0, math.inf),
  "contrast.bank_capacity": (1, math.inf),
  "contrast.bank_capacity_class0": (1, math.inf),
}


def check_values(config: Mapping[str, Any]) -> None:
  """Raises ValueError, which names the key, if a value can not be right.

  Args:
    config: the whole config as nested dicts.
  """
  values = workdir.flatten(config)
  for key, allowed in _CHOICES.items():
    if values[key] not in allowed:
      raise ValueError(
        f"{key}={values[key]!r}: expected one of {', '.join(allowed)}"
      )
  for key, (low, high) in _RANGES.items():
    if not low <= values[key] <= high:
      limit = f"in [{low}, {high}]" if high < math.inf else f">= {low}"
      raise ValueError(f"{key}={values[key]}: must be {limit}")
  for key in ("mesh", "data.scale_range"):
    if len(values[key]) != 2:
      raise ValueError(f"{key}={values[key]}: must be two numbers")
  low, high = values["data.scale_range"]
  if not 0 < low <= 1 <= high:
    raise ValueError(f"data.scale_range={low, high}: must hold 1, and be > 0")
  for key in ("data.crop_size", "eval.crop_size"):
    if len(values[key]) != 2 or min(values[key]) < 16:
      raise ValueError(f"{key}={values[key]}: must be (height, width), >= 16")
