"""Replays recorded steps of UniMatch's training loops with our own.

Images, boxes and masks of dropout are the recorded ones; the network is the
tiny one that ran under the published forward pass.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.parity import golden, unimatch_networks, unimatch_step
from u2pl_jax import methods
from u2pl_jax.methods.consistency import features, targets
from u2pl_jax.models import forward
from u2pl_jax.ops import interleave
from u2pl_jax.training import optim, train_state, train_step

METHODS = {1: "unimatch", 2: "unimatch_v2"}


def optimizer_of(config):
  """The options of the recorded optimizer."""
  kind = {"kind": "sgd", "momentum": config["momentum"]}
  if config["version"] == 2:
    beta1, beta2 = config["betas"]
    kind = {"kind": "adamw", "beta1": beta1, "beta2": beta2}
    kind["epsilon"] = config["eps"]
  return optim.OptimOptions(
    learning_rate=config["lr"],
    factors={"encoder": 1.0, "head": config["lr_multi"]},
    power=config["power"],
    weight_decay=config["weight_decay"],
    late_rate=True,
    **kind,
  )


def _remember_gradients():
  """A transformation whose state is the last gradient."""
  return optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda updates, state, params: (updates, updates),
  )


def _make_tx(config):
  settings = optimizer_of(config)
  return optax.chain(
    _remember_gradients(),
    optim.create_optimizer(
      settings,
      learning_rate=settings.learning_rate,
      total_steps=config["total_iters"],
    ),
  )


def _scales(config, arrays, step):
  """The recorded masks of dropout, in the order of the batch."""
  if config["version"] == 1:
    count = config["labeled"]
    drops = [2.0 * arrays[f"drop_{c}"][step].astype("f4") for c in ("c1", "c4")]
    return tuple(interleave.join(d[:count], d[count:]) for d in drops)
  kept = arrays["drop_binary"][step] > 0
  untouched = np.isin(np.arange(len(kept)), arrays["untouched_images"][step])
  return (interleave.join(*features.complementary(kept, untouched)),) * 4


def _batch(config, arrays, step):
  """The batch of a step, with its draws."""
  scale = config["image_scale"]
  names = {"label", "ignore", "ignore_mix", "box1_y0x0y1x1", "box2_y0x0y1x1"}
  names |= {name for name in arrays if name.startswith("image_")}
  here = {name: arrays[name][step] for name in names & arrays.keys()}

  def images(name):
    found = unimatch_step.images_of(here, name)
    return None if found is None else found / scale

  drawn = unimatch_step.draws_of(here, _scales(config, arrays, step))
  drawn = drawn.replace(
    strong=tuple(each / scale for each in drawn.strong),
    partners=drawn.partners and tuple(each / scale for each in drawn.partners),
  )
  batch = {
    "image_l": images("image_x"),
    "label_l": here["label"],
    "image_u": images("image_w"),
    "padding_u": here["ignore"] // 255,
    "draws": drawn,
  }
  if config["version"] == 1:
    batch["image_u2"] = images("image_w_mix")
    batch["padding_u2"] = here["ignore_mix"] // 255
  return batch


def _observed(method, model):
  """The method, with its targets among its metrics."""

  def teach(memory, student, batch, keys, step):
    lesson, memory, metrics = method.teach(memory, student, batch, keys, step)
    found = {}
    if memory is not None:
      logits = forward.make_net(model, memory.teacher)(batch["image_u"])
      found["weak"] = targets.guess(logits, batch["padding_u"])
    return lesson, memory, metrics | found

  def observe(memory, outputs, lesson):
    lesson, memory, metrics = method.observe(memory, outputs, lesson)
    found = {
      f"strong{index}": guess
      for index, guess in enumerate(lesson.targets.strong, start=1)
    }
    if hasattr(lesson.targets, "weak"):
      found["weak"] = lesson.targets.weak
      found["partner"] = lesson.targets.partner
    return lesson, memory, metrics | found

  return method._replace(teach=teach, observe=observe)


def _record(config, state, metrics):
  """A step's entries, under the recorded names."""
  version = config["version"]
  weights = unimatch_step.weights_of(METHODS[version], config)
  record = {
    f"loss_{name}": metrics[f"loss/{unimatch_step.NAMES_OF_LOSSES[name]}"]
    / weight
    for name, weight in weights.items()
  }
  record["loss_total"] = metrics["loss/total"]
  record["mask_ratio"] = metrics["consistency/mask_ratio"]
  if "consistency/ema_decay" in metrics:
    record["ema_decay"] = metrics["consistency/ema_decay"]
  for name, suffix in (("weak", ""), ("partner", "_mix")):
    if name in metrics:
      record[f"pseudo_label{suffix}"] = metrics[name].labels
      record[f"confidence{suffix}"] = metrics[name].confidence
  for index in (1, 2):
    record[f"target{index}"] = metrics[f"strong{index}"].labels
  networks = {"student": state.student}
  if state.memory is not None:
    networks["teacher"] = state.memory.teacher
  for who, variables in networks.items():
    for name, value in unimatch_networks.to_torch(variables, version).items():
      kind = "bn" if "running" in name else "param"
      record[f"{who}_{kind}/{name}"] = value
  gradients = unimatch_networks.to_torch(
    {"params": state.opt_state[0]}, version
  )
  for name, value in gradients.items():
    record[f"grad_l2/{name}"] = np.linalg.norm(value)
  return record


def _prepare(config, arrays):
  """The step, compiled when called, and the state it begins with."""
  model = unimatch_networks.create(config)
  entries = unimatch_networks.entries_of(arrays)
  variables = unimatch_networks.from_torch(entries, model, config["version"])
  name = METHODS[config["version"]]
  (phase,) = methods.find(name).create(
    unimatch_step.make_parts(
      config,
      model,
      batch_size_l=config["labeled"],
      batch_size_u=config["unlabeled"],
      total_steps=config["total_iters"],
    ),
    *unimatch_step.options_of(name, config),
    draw=unimatch_step.draw_given,
  )
  tx = _make_tx(config)
  memory = phase.method.init(jax.random.key(0), variables)
  state = train_state.TrainState(
    step=jnp.int32(0),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    opt_state=tx.init(variables["params"]),
    memory=memory,
  )
  method = _observed(phase.method, model)
  return jax.jit(train_step.make_step(model, tx, method)), state


@golden.once_per_input
def run(names, *values):
  """Replays a run.

  Args:
    names: JSON list of the names of the arrays of a recording.
    *values: these arrays.

  Returns:
    Arrays under the recording's names, the first axis being the step.
  """
  arrays = dict(zip(json.loads(str(names)), values, strict=True))
  config = unimatch_step.config_of(arrays)
  step, state = _prepare(config, arrays)
  records = []
  for index in range(config["steps"]):
    with jax.default_matmul_precision("highest"):
      state, metrics = step(
        state, _batch(config, arrays, index), jax.random.key(0)
      )
    records.append(_record(config, *jax.device_get((state, metrics))))
  return {name: np.array([r[name] for r in records]) for name in records[0]}
