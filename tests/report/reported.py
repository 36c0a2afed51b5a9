"""Runs as a report reads them, made without training."""

import json

import cv2
import jax
import numpy as np
from clu import metric_writers
from etils import epath

from tests import tiny_network, tiny_run
from u2pl_jax.data import datasets
from u2pl_jax.evaluation import metrics
from u2pl_jax.ops import percentile
from u2pl_jax.report import curves, examples, runs
from u2pl_jax.runtime import checkpoint, damage, workdir

MIOU = {2: 10.0, 4: 30.0, 6: 20.0}  # By step.
DROP_THRESHOLD = {4: 1.5, 6: 1.25}
RESULT = {
  "step": 6,
  "network": "teacher",
  "protocol": "crop",
  "miou": 20.0,
  "pixel_accuracy": 55.5,
  "best_miou": 30.0,
  "seconds": 3725.0,
  "images_per_second": 12.5,
  "evaluations": {
    "slide, teacher of step 4": {
      "slide/miou": 31.25,
      "slide/pixel_accuracy": 61.0,
    }
  },
}


def make_run(name="a", **changes):
  """A run in memory, with random weights, that logged nothing."""
  settings = dict(
    name=name,
    workdir=epath.Path(f"runs/{name}"),
    config={"semi": {"drop_percent": 80.0}},
    result=None,
    curves={},
    network=tiny_network.make_trained(),
  )
  return runs.Run(**settings | changes)


def make_curve(*values):
  """One value a step, from step 1 on."""
  return curves.Curve(np.arange(1, len(values) + 1), np.array(values, float))


def make_scalars(names):
  """By step, what a run of six steps logs; the last four semi-supervised."""
  scalars = {
    step: {"loss/total": 3.0 / step, "loss/supervised": 2.0 / step}
    for step in range(1, 7)
  }
  for step, value in MIOU.items():
    scalars[step]["crop/miou"] = value
    scalars[step] |= {f"crop/iou/{name}": value + 1 for name in names}
  for step, value in DROP_THRESHOLD.items():
    scalars[step]["semi/drop_threshold"] = value
    scalars[step]["semi/reliable_threshold"] = value
    scalars[step]["semi/kept_fraction"] = 0.8
    scalars[step]["semi/reliable_fraction"] = 0.2
    scalars[step] |= {f"bank/fill/{name}": step / 6 for name in names}
    scalars[step] |= {"taught/share": 0.8, "taught/accuracy": 0.9}
    scalars[step] |= {f"taught_accuracy/{name}": 0.9 for name in names}
  return scalars


def write_events(folder, scalars):
  writer = metric_writers.SummaryWriter(str(folder))
  for step, values in scalars.items():
    writer.write_scalars(step, values)
  writer.close()


def write_run(folder, data_dir, *, salt="", arg="", scalars=None):
  """A run of six steps on `tiny_run.make_dataset`, with random weights.

  Args:
    folder: of the run.
    data_dir: where the dataset is.
    salt: others give other weights.
    arg: of the config.
    scalars: that it logged, by step; default: of `make_scalars`.
  """
  folder = epath.Path(folder)
  # An encoder with names in PyTorch, by which it gets its weights.
  arg = ",".join(filter(None, [arg, "encoder=resnet18"]))
  config = tiny_run.make_config(data_dir, arg)
  dataset = datasets.open_dataset(config["data"]["name"], data_dir)
  names = dataset.class_names
  workdir.claim(folder, config, names, dataset.palette)
  variables = tiny_network.make_variables(config, len(names), salt)
  memory = {"teacher": variables} if config["method"] == "u2pl" else None
  state = dict(variables) | {"memory": memory}
  network = "teacher" if memory else "student"
  progress = dict.fromkeys(damage.PROGRESS_KEYS)
  progress |= {"step": 6, "network": network, "bad_steps": []}
  with checkpoint.open_manager(folder / "checkpoints", keep_last=1) as manager:
    checkpoint.save(manager, 6, jax.device_put(state), progress, 20.0)
  write_events(folder, make_scalars(names) if scalars is None else scalars)
  iou = {name: 10.0 * index for index, name in enumerate(names)}
  (folder / "result.json").write_text(json.dumps(RESULT | {"iou": iou}))
  return folder


def make_example(
  record=0, *, size=(30, 40), num_classes=5, num_views=1, noise=0.0
):
  """An example of blobs; the noisier, the more bytes its pictures take."""
  rng = np.random.default_rng(record)

  def draw():
    coarse = rng.normal(size=(6, 8, num_classes)).astype(np.float32)
    fine = rng.normal(size=(*size, num_classes)).astype(np.float32)
    return cv2.resize(coarse, size[::-1]) + noise * cv2.blur(fine, (5, 5))

  def view(logits):
    prediction = logits.argmax(-1).astype(np.uint8)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (label, prediction), 1)
    entropy = np.asarray(percentile.compute_entropy(logits)).astype(np.float16)
    return examples.View(prediction, entropy, metrics.compute_scores(confusion))

  label = draw().argmax(-1).astype(np.uint8)
  shades = draw()[..., :3]
  return examples.Example(
    name=f"image {record}",
    record=record,
    image=np.uint8(255 / (1 + np.exp(-shades))),
    label=label,
    views=tuple(view(draw()) for _ in range(num_views)),
  )
