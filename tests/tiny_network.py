"""Networks with plausible weights, untrained: `Trained`, and as a run."""

import jax
from etils import epath

from tests import saved_progress, tiny
from tests.parity import network
from u2pl_jax.models import torch_names
from u2pl_jax.models.decoders import deeplab
from u2pl_jax.predict import trained
from u2pl_jax.runtime import checkpoint, workdir

# As they are read from JSON.
OPTIONS = tiny.OPTIONS | {"aspp_rates": [1]}
NAMES = ("sky", "road", "tree", "house", "car")
PALETTE = ((0, 0, 0), (9, 8, 7), (255, 0, 1), (3, 200, 4), (90, 0, 90))
WINDOW = (33, 41)


def make_variables(salt="", **options):
  """Weights of a network; others with another salt."""
  shapes = network.variable_shapes(deeplab.create_model(**options))
  state_dict = {
    name: network.make_entry(name, shape, salt)
    for name, (shape, _) in network.describe_entries(shapes).items()
  }
  return torch_names.from_torch(state_dict, shapes)


def make_trained(**changes):
  """`OPTIONS`, some changed."""
  options = OPTIONS | changes
  return trained.Trained(
    options=options,
    variables=make_variables(**options),
    class_names=NAMES,
    palette=PALETTE,
    window=WINDOW,
    origin="a test",
  )


def save_run(folder, *, has_teacher=True, config=None):
  """A run with the checkpoints 1, the best, and 2.

  Args:
    folder: of the run.
    has_teacher: whether its state holds one.
    config: of the run; default: `OPTIONS` and `WINDOW`.

  Returns:
    {(step, "teacher" or "student"): variables}.
  """
  folder = epath.Path(folder)
  model = {k: v for k, v in OPTIONS.items() if k != "num_classes"}
  config = config or {
    "model": model | {"pretrained": ""},
    "eval": {"crop_size": WINDOW},
  }
  workdir.claim(folder, config, NAMES, PALETTE)
  options = config["model"] | {"num_classes": len(NAMES)}
  del options["pretrained"]
  variables = {}
  with checkpoint.open_manager(folder / "checkpoints", keep_last=1) as manager:
    for step, miou in ((1, 50.0), (2, 40.0)):
      state = {"teacher_params": None, "teacher_batch_stats": None}
      for kind in ("student", "teacher") if has_teacher else ("student",):
        prefix = "teacher_" if kind == "teacher" else ""
        variables[step, kind] = make_variables(f"{kind}{step}", **options)
        for name, tree in variables[step, kind].items():
          state[prefix + name] = tree
      state = jax.device_put(state)
      network = "teacher" if has_teacher else "student"
      progress = saved_progress.make(step, network=network)
      checkpoint.save(manager, step, state, progress, miou)
  return variables
