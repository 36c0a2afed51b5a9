"""Networks with plausible weights, untrained: `Trained`, and as a run."""

import json

import jax
from etils import epath

from tests import networks, saved_progress
from tests.parity import network
from u2pl_jax.models import network as network_lib
from u2pl_jax.models import torch_names
from u2pl_jax.predict import trained
from u2pl_jax.runtime import checkpoint, workdir

NAMES = ("sky", "road", "tree", "house", "car")
PALETTE = ((0, 0, 0), (9, 8, 7), (255, 0, 1), (3, 200, 4), (90, 0, 90))
WINDOW = (33, 41)
# Options of a network small enough to compile in a test.
ENCODER = dict(encoder="resnet18", width=4, output_stride=16, multi_grid=False)
DECODER = dict(
  channels=8, low_level_channels=4, rep_channels=6, aspp_rates=(1,)
)


def make_sections(**changes):
  """Of the tiny network, with some options changed or another encoder."""
  encoder = {} if "encoder" in changes else ENCODER
  return networks.make_sections(**(encoder | DECODER | changes))


def make_variables(sections, num_classes=len(NAMES), salt=""):
  """Weights of a network; others with another salt."""
  shapes = network_lib.create(sections, num_classes).variable_shapes()
  state_dict = {
    name: network.make_entry(name, shape, salt)
    for name, (shape, _) in network.describe_entries(shapes).items()
  }
  return torch_names.from_torch(state_dict, shapes)


def make_options(**changes):
  """What a file says of `make_sections`, as it is read from JSON."""
  sections = json.loads(json.dumps(make_sections(**changes)))
  return {"num_classes": len(NAMES), **sections}


def make_trained(**changes):
  """The tiny network, some options changed."""
  options = make_options(**changes)
  return trained.Trained(
    options=options,
    variables=make_variables(options),
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
    config: of the run; default: the tiny network and `WINDOW`.

  Returns:
    {(step, "teacher" or "student"): variables}.
  """
  folder = epath.Path(folder)
  config = config or make_sections() | {"eval": {"crop_size": WINDOW}}
  workdir.claim(folder, config, NAMES, PALETTE)
  variables = {}
  with checkpoint.open_manager(folder / "checkpoints", keep_last=1) as manager:
    for step, miou in ((1, 50.0), (2, 40.0)):
      for kind in ("student", "teacher") if has_teacher else ("student",):
        salt = f"{kind}{step}"
        variables[step, kind] = make_variables(config, salt=salt)
      teacher = variables.get((step, "teacher"))
      memory = {"teacher": teacher} if has_teacher else None
      state = jax.device_put(variables[step, "student"] | {"memory": memory})
      name = "teacher" if has_teacher else "student"
      progress = saved_progress.make(step, network=name)
      checkpoint.save(manager, step, state, progress, miou)
  return variables
