r"""Trains and evaluates U2PL.

python main.py --config=configs/synthetic.py --workdir=runs/synthetic
python main.py --config=configs/voc_1464.py --workdir=DIR --config.seed=1
python main.py --config=configs/voc_1464.py --dry_run
python main.py --mode=eval --config=... --workdir=DIR --checkpoint=last \
  --config.eval.protocol=slide --save_predictions=color
"""

from absl import app, flags, logging
from ml_collections import config_flags

from u2pl_jax.runtime import command_line, distributed, launch

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
_STATE = flags.DEFINE_enum(
  "state", None, ["teacher", "student"], "Which network --mode=eval evaluates."
)
_SAVE_PREDICTIONS = flags.DEFINE_string(
  "save_predictions", "", "index, color, cityscapes, or several with commas."
)
_PROFILE = flags.DEFINE_string(
  "profile", None, "START:STOP, updates to trace into WORKDIR/profile."
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Compile, say what the run would take, and end."
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
  "coordinator_address", None, "HOST:PORT of process 0, if there are several."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which one this is.")
flags.mark_flag_as_required("config")


def _run() -> None:
  command_line.check_together(flags.FLAGS.flag_values_dict())
  profile_steps = command_line.parse_profile(_PROFILE.value)
  launch.start(
    _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value
  )
  from data_prep import synthetic
  from u2pl_jax import dry_run, evaluate, train

  config, workdir = _CONFIG.value, _WORKDIR.value
  if _DRY_RUN.value:
    return dry_run.report(config)
  if config.data.name == "synthetic":
    synthetic.prepare(config.data.data_dir)
  if _MODE.value == "eval":
    evaluate.evaluate(
      config,
      workdir,
      _CHECKPOINT.value,
      network=_STATE.value,
      save_predictions=_SAVE_PREDICTIONS.value,
    )
  else:
    train.train_and_evaluate(config, workdir, profile_steps=profile_steps)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  with distributed.ending_at_once(), command_line.one_line_errors():
    _run()


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser after our own checks of the config flags."""
  with command_line.one_line_errors():
    command_line.check_config_flags(argv[1:])
  return app.parse_flags_with_usage(argv)


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
