"""A whole run, with a dataset and a config, that takes seconds."""

import runpy

import numpy as np

from data_prep import synthetic
from u2pl_jax import experiment
from u2pl_jax.experiment import inputs, states
from u2pl_jax.training import feed

# 3 epochs of 2 steps, the first supervised, evaluated after each.
SETTINGS = {
  "data.name": "tiny",
  "data.crop_size": (33, 33),
  "data.num_workers": 1,
  "data.split": "16",
  "encoder.width": 4,
  "decoder.channels": 8,
  "decoder.low_level_channels": 4,
  "decoder.rep_channels": 6,
  "decoder.aspp_rates": (1,),
  "train.epochs": 3,
  "train.log_every_steps": 2,
  "eval.crop_size": (33, 33),
  "eval.batch_size": 8,
  "eval.every_epochs": 1,
  "eval.num_images": 2,
}
# Only where the method has them.
U2PL_SETTINGS = {
  "contrast.bank_capacity": 64,
  "contrast.bank_capacity_class0": 64,
  "semi.supervised_epochs": 1,
}


def make_dataset(folder):
  synthetic.prepare(
    folder,
    name=SETTINGS["data.name"],
    num_labeled=16,
    num_unlabeled=17,
    num_val=9,
    image_size=32,
  )
  return folder


def _settings(data_dir, method, changes):
  settings = SETTINGS | {"data.data_dir": str(data_dir)}
  if method in ("u2pl", "u2pl_ael"):
    settings |= U2PL_SETTINGS
  if method == "suponly":
    settings["decoder.rep_channels"] = 0
  return settings | changes


def _with_encoder(arg):
  """The argument of a config, with a network that compiles at once."""
  if "encoder=" in arg:
    return arg
  return ",".join(filter(None, [arg, "encoder=tests.small_encoder"]))


def make_config(data_dir, arg="", **changes):
  """A config as the loop reads it, nested dicts.

  `arg` stands after the colon of --config.
  """
  arg = _with_encoder(arg)
  config = runpy.run_path("configs/synthetic.py")["get_config"](arg)
  config.update_from_flattened_dict(_settings(data_dir, config.method, changes))
  return config.to_dict()


def create(data_dir, arg="", **changes):
  """The experiment of `make_config`."""
  return experiment.create_experiment(make_config(data_dir, arg, **changes))


def make_flags(data_dir, method, **changes):
  """Of main.py, to the same end."""
  settings = _settings(data_dir, method, changes)
  arg = _with_encoder(f"method={method}")
  return [f"--config=configs/synthetic.py:{arg}"] + [
    f"--config.{key}={value}" for key, value in settings.items()
  ]


def make_steps(data_dir, count=5, arg="", **changes):
  """Steps on this process's part of the data, none of them supervised.

  Of U2PL, unless `arg` names another method.

  At the published learning rate, so that nothing but rounding tells two meshes
  apart: at the tenfold rate of a run from scratch the fourth step already has
  another pixel above a threshold.

  Returns:
    The losses of each step [count, losses], and the parameters after them.
  """
  settings = {"semi.supervised_epochs": 0, "optim.learning_rate": 0.001}
  settings |= changes
  exp = create(data_dir, arg, **settings)
  step = exp.programs.create_train_step()
  state = states.create_state(exp)
  batches = feed.Feed(inputs.train_batches(exp, 0), exp.programs, 0, state)
  losses = []
  for index in range(count):
    state, metrics = step(index, state, batches.take())
    batches.follow(state)
    names = [name for name in sorted(metrics) if name.startswith("loss/")]
    losses.append([float(metrics[name]) for name in names])
  return np.array(losses), state.params
