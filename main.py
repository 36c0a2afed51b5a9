"""Trains and evaluates U2PL.

python main.py --config=configs/synthetic.py --workdir=runs/synthetic
python main.py --config=configs/voc_1464.py --workdir=DIR --config.seed=1
python main.py --mode=eval --config=... --workdir=DIR --checkpoint=last
"""

import os
import sys

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from u2pl_jax import command_line

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "FILE.py or FILE.py:ARGUMENT.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run; resumed if it holds one."
)
_MODE = flags.DEFINE_enum(
  "mode", "train", ["train", "eval"], "Train, or evaluate a checkpoint."
)
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint", "best", ["best", "last"], "Which one --mode=eval evaluates."
)
flags.mark_flags_as_required(["config", "workdir"])


def _run() -> None:
  # JAX's backends start before TensorFlow is imported, which then takes no
  # accelerator: the other way round breaks runs on several GPUs.
  jax.devices()
  # TensorFlow only reads images here; no notes on start-up, please.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")
  tf.config.set_visible_devices([], "TPU")
  from data_prep import synthetic
  from u2pl_jax import train

  config = _CONFIG.value
  if config.data.name == "synthetic":
    synthetic.prepare(config.data.data_dir)
  if _MODE.value == "train":
    train.train_and_evaluate(config, _WORKDIR.value)
  else:
    train.evaluate(config, _WORKDIR.value, _CHECKPOINT.value)


def main(argv: list[str]) -> None:
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  try:
    _run()
  except (ValueError, OSError, FloatingPointError) as error:
    if "\n" in str(error).strip():
      raise  # Not one of ours: the whole of it helps.
    logging.debug("traceback", exc_info=True)
    sys.exit(f"error: {error}")


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser after our own checks of the config flags."""
  if not any(word.lstrip("-").startswith("help") for word in argv[1:]):
    try:
      command_line.check_config_flags(argv[1:])
    except (ValueError, OSError) as error:
      sys.exit(f"error: {error}")
  return app.parse_flags_with_usage(argv)


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
