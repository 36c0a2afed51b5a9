r"""Trains and evaluates a network on labeled and unlabeled images.

python main.py --config=configs/synthetic.py --workdir=runs/synthetic
python main.py --config=configs/voc_1464.py --workdir=DIR --config.seed=1
python main.py --config=configs/voc_1464.py --dry_run --topology=v5e:4x4
python main.py --mode=eval --config=... --workdir=DIR --checkpoint=last \
  --config.eval.protocol=slide --save_predictions=color
"""

from u2pl_jax.runtime import interrupt

if __name__ == "__main__":  # Before imports that take seconds.
  interrupt.end_program()

from absl import app, flags, logging

from u2pl_jax.runtime import command_line, distributed, launch
from u2pl_jax.tools import main_flags

_CONFIG = main_flags.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run; a run that it holds is resumed."
)
_MODE = flags.DEFINE_enum(
  "mode",
  "train",
  ["train", "eval"],
  "Whether to train, or to evaluate a checkpoint.",
)
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint",
  "best",
  ["best", "last"],
  "The checkpoint that --mode=eval evaluates.",
)
_STATE = flags.DEFINE_enum(
  "state",
  None,
  ["teacher", "student"],
  "The network that --mode=eval evaluates.",
)
_SAVE_PREDICTIONS = flags.DEFINE_string(
  "save_predictions",
  "",
  "Formats of predictions that --mode=eval saves: index, color, cityscapes.",
)
_PROFILE = flags.DEFINE_string(
  "profile", None, "START:STOP, the updates to trace into WORKDIR/profile."
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Compile the run, tell what it would take, and end."
)
_TOPOLOGY = flags.DEFINE_string(
  "topology",
  None,
  "Accelerators that --dry_run compiles for and that need not be there, such as"
  " v5e:4x4 or h100:8.",
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
  "coordinator_address",
  None,
  "HOST:PORT of process 0, if there are several processes.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "The number of processes."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "The number of this process, from 0 on."
)


def _run() -> None:
  main_flags.check_together(flags.FLAGS.flag_values_dict())
  profile_steps = main_flags.parse_profile(_PROFILE.value)
  if _TOPOLOGY.value:
    launch.leave_accelerators()
  launch.start(
    _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value
  )
  from data_prep import published, synthetic
  from u2pl_jax import dry_run, evaluate, train
  from u2pl_jax.tools import batch_sizes

  workdir = _WORKDIR.value
  config = main_flags.complete(_CONFIG.value.to_dict(), workdir)
  if _DRY_RUN.value:
    opened = published.stand_in(config["data"]) if _TOPOLOGY.value else None
    config = batch_sizes.rehearse(config, _TOPOLOGY.value, opened)
    return dry_run.report(config, _TOPOLOGY.value, opened)
  data = config["data"]
  if data["name"] in synthetic.MADE_BY_RUNS:
    special = synthetic.MADE_BY_RUNS[data["name"]]
    synthetic.prepare(data["data_dir"], name=data["name"], **special)
  config = batch_sizes.resolve(config, workdir)
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
  del argv
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  with distributed.ending_at_once(), command_line.one_line_errors():
    _run()


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, with one line for each mistake."""
  with command_line.one_line_errors():
    return main_flags.parse(argv)


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
