"""Settings of a run, of the training loop, and of what it saves."""

import dataclasses
from typing import ClassVar

from u2pl_jax.runtime import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(options.Options):
  """Settings at the top level of the config."""

  # A module of `methods`.
  method: str = ""
  # A preset of the method over other keys.
  recipe: str = ""
  # Fixes everything random.
  seed: int = options.setting(0, minimum=0)
  # Devices (data, fsdp): batches are split over both, the state over fsdp.
  # -1 for all there are.
  mesh: tuple[int, int] = options.setting((-1, 1), length=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(options.Options):
  """Length of the run, and what it says while it goes on."""

  SECTION: ClassVar[str] = "train"

  # T, passes over the unlabeled images.
  epochs: int = 80
  # Between points of the curves.
  log_every_steps: int = options.setting(50, minimum=1)
  # So many steps in a row with NaN or Inf, none applied, end the run.
  max_bad_steps: int = options.setting(10, minimum=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointOptions(options.Options):
  """When the state is saved, and what is kept."""

  SECTION: ClassVar[str] = "checkpoint"

  # Between evaluations too; 0 for not.
  every_steps: int = options.setting(0, minimum=0)
  # Beside the best one.
  keep_last: int = options.setting(2, minimum=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogOptions(options.Options):
  """Where curves and pictures go beside TensorBoard; "" for nowhere."""

  SECTION: ClassVar[str] = "log"

  # A project of Weights & Biases.
  wandb: str = ""
  # URI of an MLflow server, such as http://HOST:5000, or of a folder.
  mlflow: str = ""
