"""Steps of UniMatch V2's own training loop with DINOv2-Small and DPT, replayed.

A recording holds a run in float32, and some of its quantities in float64 too.
At each step a quantity may be off by ten times the largest gap between the two
so far, at least 1e-4, and in the first three steps, which are insisted on, by
1e-2 at most. The share of pixels taught is a count: two of 11,312 may lie on
either side of the threshold, by how a CPU adds up (one did, on one of two).
"""

import json

import jax
import numpy as np

from tests.parity import dpt_model_test, golden, unimatch_step, vit
from u2pl_jax import methods
from u2pl_jax.methods.consistency import features, targets, views
from u2pl_jax.models import forward
from u2pl_jax.ops import interleave
from u2pl_jax.training import optim, train_state, train_step

pytestmark = golden.SLOW

FLOOR, GAPS = 1e-4, 10
INSISTED_STEPS, LIMIT = 3, 1e-2
PIXELS_AT_THRESHOLD = 2
_PARTS = ("backbone", "head")


def _boxes(masks):
  """[n, 4] int32 of the rectangles of masks [n, H, W]."""
  found = np.zeros((len(masks), 4), np.int32)
  for box, mask in zip(found, masks, strict=True):
    rows, columns = np.nonzero(mask)
    if rows.size:
      corner, end = (rows.min(), columns.min()), (rows.max(), columns.max())
      box[:] = *corner, end[0] + 1, end[1] + 1
      assert mask.sum() == (box[2] - box[0]) * (box[3] - box[1])
  return found


def _batch(config, arrays, step):
  """The batch of a step, with its draws."""
  index, salt = step % config["steps_per_epoch"], config["salt"]
  side = config["config"]["crop_size"]

  def image(name):
    shape = (config["batch"], 3, side, side)
    return vit.make_image(f"unimatch:{name}:{index}", shape, salt)

  weak = image("w")
  strong = [weak + np.float32(0.3) * image(f"s{view}") for view in (1, 2)]
  untouched = arrays["permutation"][step][: config["batch"] // 2]
  scales = features.complementary(
    arrays["bernoulli"][step] > 0,
    np.isin(np.arange(config["batch"]), untouched),
  )
  return {
    "image_l": golden.channels_last(image("x")),
    "label_l": arrays["labels"][index],
    "image_u": golden.channels_last(weak),
    "padding_u": arrays["ignore_mask"][index] // 255,
    "draws": views.Draws(
      strong=tuple(map(golden.channels_last, strong)),
      partners=None,
      boxes=tuple(map(_boxes, arrays["cutmix_boxes"][index])),
      scales=(interleave.join(*scales),) * 4,
    ),
  }


def _prepare(config):
  """The step, compiled when called, and the state it begins with."""
  given = config["config"]
  model, variables = dpt_model_test.build(
    "small", given["nclass"], config["salt"]
  )
  model = model.clone(mean_rgb=(0.0,) * 3, std_rgb=(1.0,) * 3)
  recorded = {
    "version": 2,
    "K": given["nclass"],
    "criterion": given["criterion"],
    "conf_thresh": given["conf_thresh"],
    "labeled": config["batch"],
  }
  total_steps = config["steps_per_epoch"] * given["epochs"]
  (phase,) = methods.find("unimatch_v2").create(
    unimatch_step.make_parts(
      recorded,
      model,
      batch_size_l=config["batch"],
      batch_size_u=config["batch"],
      total_steps=total_steps,
    ),
    *unimatch_step.options_of("unimatch_v2", recorded),
    draw=unimatch_step.draw_given,
  )

  def teach(memory, student, batch, keys, step):
    lesson, after, metrics = phase.method.teach(
      memory, student, batch, keys, step
    )
    logits = forward.make_net(model, memory.teacher)(batch["image_u"])
    metrics["weak"] = targets.guess(logits, batch["padding_u"])
    return lesson, after, metrics

  settings = optim.OptimOptions(
    kind="adamw",
    learning_rate=given["lr"],
    factors={"encoder": 1.0, "head": given["lr_multi"]},
    weight_decay=0.01,
    late_rate=True,
  )
  tx = optim.create_optimizer(
    settings, learning_rate=given["lr"], total_steps=total_steps
  )
  state = train_state.TrainState(
    step=np.int32(0),
    params=variables["params"],
    batch_stats={},
    opt_state=tx.init(variables["params"]),
    memory=phase.method.init(jax.random.key(0), variables),
  )
  method = phase.method._replace(teach=teach)
  return jax.jit(train_step.make_step(model, tx, method)), state


def _distances(params, start):
  """How far each part is from the start, by its published name."""
  named = dpt_model_test.as_published(params)
  return {
    part: np.sqrt(
      sum(
        np.sum((named[name].astype("f8") - start[name]) ** 2)
        for name in named
        if name.startswith(f"{part}.")
      )
    )
    for part in _PARTS
  }


@golden.once_per_input
def _run(config_json, *inputs):
  """Replays the insisted steps; arrays under the recorded names."""
  names = ("labels", "ignore_mask", "cutmix_boxes", "bernoulli", "permutation")
  arrays = dict(zip(names, inputs, strict=True))
  config = json.loads(str(config_json))
  step, state = _prepare(config)
  start = dpt_model_test.as_published(state.params)
  records = []
  for index in range(INSISTED_STEPS):
    before = _distances(state.memory.teacher["params"], start)
    with jax.default_matmul_precision("highest"):
      state, metrics = jax.device_get(
        step(state, _batch(config, arrays, index), jax.random.key(0))
      )
    strong = metrics["loss/strong1"] + metrics["loss/strong2"]
    record = {
      "loss": metrics["loss/total"],
      "loss_x": metrics["loss/supervised"] / 0.5,
      "loss_s": strong / 0.5,
      "mask_ratio": metrics["consistency/mask_ratio"],
      "pseudo_label": metrics["weak"].labels,
      "confidence_every4": metrics["weak"].confidence[:, ::4, ::4],
    }
    after = _distances(state.params, start)
    for part in _PARTS:
      record[f"delta_norm/{part}"] = after[part]
      record[f"teacher_delta_norm_before_step/{part}"] = before[part]
    records.append(record)
  return {name: np.array([r[name] for r in records]) for name in records[0]}


def _replayed(path):
  arrays = golden.load(path)
  names = ("labels", "ignore_mask", "cutmix_boxes", "bernoulli", "permutation")
  found = _run(arrays["config_json"], *(arrays[name] for name in names))
  return arrays, found


@golden.every_file("dpt_unimatch_v2")
def test_losses_and_movement(path):
  arrays, found = _replayed(path)
  pixels = np.sum(arrays["ignore_mask"][0] != 255)
  for name in (
    "loss", "loss_x", "loss_s", "mask_ratio",
    *(f"delta_norm/{part}" for part in _PARTS),
    *(f"teacher_delta_norm_before_step/{part}" for part in _PARTS),
  ):  # fmt: skip
    recorded = arrays[name][:INSISTED_STEPS].astype("f8")
    exact = arrays[f"float64/{name}"][:INSISTED_STEPS]
    scale = np.maximum(np.abs(exact), 1e-12)
    gap = np.maximum.accumulate(np.abs(recorded - exact) / scale)
    allowed = np.clip(GAPS * gap, FLOOR, LIMIT)
    if name == "mask_ratio":
      allowed = np.maximum(allowed, PIXELS_AT_THRESHOLD / pixels / scale)
    for expected in (recorded, exact):
      error = np.abs(found[name] - expected) / scale
      # Of nothing taught, and of a teacher that has not moved, nothing is left.
      assert np.all(error * (exact > 0) <= allowed), f"{name}: {error}"
      assert np.all((exact > 0) | (np.abs(found[name]) < 1e-6)), name


@golden.every_file("dpt_unimatch_v2")
def test_labels_of_the_teacher(path):
  arrays, found = _replayed(path)
  disagree = arrays["float64/pseudo_label_disagree"]
  for step in range(INSISTED_STEPS):
    differing = np.sum(
      found["pseudo_label"][step] != arrays["pseudo_label"][step]
    )
    assert differing <= GAPS * max(disagree[: step + 1].max(), 1)
    np.testing.assert_allclose(
      found["confidence_every4"][step],
      arrays["confidence_every4"][step],
      rtol=0,
      atol=1e-3,
    )
