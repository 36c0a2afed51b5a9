"""Optimization steps of the branch with_AEL, replayed with ours.

Tolerances are those of the recordings' description: 1e-4 relative, as the
trajectories in float32 and float64 differ by 2e-5 at most.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tests.parity import ael_replay, golden
from u2pl_jax.models import layers
from u2pl_jax.training import optim, train_state, train_step

pytestmark = golden.SLOW


class _Encoder(nn.Module):
  """Two strided convs, each with BN and ReLU; both features."""

  @nn.compact
  def __call__(self, x, *, train):
    features = []
    for number, width in ((1, 12), (2, 16)):
      x = nn.Conv(width, (3, 3), 2, 1, use_bias=False, name=f"conv{number}")(x)
      x = nn.relu(layers.BatchNorm(name=f"bn{number}")(x, train=train))
      features.append(x)
    return features


class _Decoder(nn.Module):
  """Conv, BN, ReLU, and the two heads."""

  num_classes: int
  width: int

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Conv(24, (3, 3), 1, 1, use_bias=False, name="conv")(x)
    x = nn.relu(layers.BatchNorm(name="bn")(x, train=train))
    return (
      nn.Conv(self.num_classes, (1, 1), name="classifier")(x),
      nn.Conv(self.width, (1, 1), name="representation")(x),
    )


class _Network(nn.Module):
  """The small network of the recordings."""

  num_classes: int
  rep_channels: int
  multiple: int = 1
  frozen: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, images, *, train, dropout):
    del dropout
    low, high = _Encoder(name="encoder")(images, train=train)
    logits, rep = _Decoder(self.num_classes, self.rep_channels, name="decoder")(
      high, train=train
    )
    aux = nn.Conv(self.num_classes, (1, 1), name="auxor")(low)
    return {"logits": logits, "rep": rep, "aux": aux}

  @nn.nowrap
  def normalize(self, images):
    return images

  @nn.nowrap
  def init_variables(self, key):
    images = jnp.zeros((2, 9, 9, 3))
    return dict(self.init(key, images, train=False, dropout=False))

  @nn.nowrap
  def variable_shapes(self):
    return jax.eval_shape(self.init_variables, jax.random.key(0))


# How the leaves are called here: collection, name, and the axes there.
_LEAVES = {
  "weight": ("params", "kernel"),
  "bias": ("params", "bias"),
  "running_mean": ("batch_stats", "mean"),
  "running_var": ("batch_stats", "var"),
}


def _from_torch(entries):
  variables = {"params": {}, "batch_stats": {}}
  for name, value in entries.items():
    *path, leaf = name.split(".")
    collection, ours = _LEAVES[leaf]
    if leaf == "weight" and value.ndim == 1:
      ours = "scale"
    if value.ndim == 4:
      value = value.transpose(2, 3, 1, 0)
    node = variables[collection]
    for step in path:
      node = node.setdefault(step, {})
    node[ours] = jnp.asarray(value)
  return variables


def _to_torch(variables, names):
  """The entries of these names, as they are recorded."""
  entries = {}
  for name in names:
    *path, leaf = name.split(".")
    collection, ours = _LEAVES[leaf]
    node = variables[collection]
    for step in path:
      node = node[step]
    value = node[ours] if ours in node else node["scale"]
    value = np.asarray(value)
    entries[name] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
  return entries


def _optimizer(config):
  options = optim.OptimOptions(
    learning_rate=config["lr"],
    factors={"encoder": 1.0, "head": float(config["head_factor"])},
    momentum=config["momentum"],
    power=config["power"],
    weight_decay=config["weight_decay"],
  )
  total = config["epochs"] * config["steps_per_epoch"]
  return (
    options,
    total,
    optim.create_optimizer(
      options, learning_rate=config["lr"], total_steps=total
    ),
  )


@functools.cache
def _compiled(config_json, phase_index):
  config = json.loads(config_json)
  _, _, tx = _optimizer(config)
  model = _Network(config["K"], config["D"])

  @jax.jit
  def run(state, batch, draws):
    method = _phases(config, model, draws)[phase_index].method

    def teach(memory, *rest):
      lesson, after, metrics = method.teach(memory, *rest)
      metrics["observed"] = _observe(memory, after, lesson.targets)
      return lesson, after, metrics

    step = train_step.make_step(model, tx, method._replace(teach=teach))
    return step(state, batch, jax.random.key(1))

  return run


def _observe(before, after, targets):
  observed = {
    "mixed_label": targets.labels,
    "pseudo_label_l": targets.labeled.labels,
    "pseudo_label_u": targets.mixed.labels[0],
  }
  if targets.plan is not None:
    moved = after.bank.cursor - before.bank.cursor
    observed["contra_new_keys"] = moved % after.bank.rows
    observed["contra_low_valid"] = targets.plan.members
    observed["queue_length"] = after.bank.count
  return observed


def _phases(config, model, draws):
  images = config["label_stack"] + 1
  pixels = images * ((config["hw"][0] - 1) // 4 + 1) ** 2
  start = config["contrast"]["start_epoch"]
  return ael_replay.phases_of(config, model, start, pixels, draws)


_POOLS = ("labeled_image_q", "label", "unlabeled_image_q")
_DRAWS = ("copy_paste_classes_drawn", "box_y0x0y1x1", "uniform_q")
_CHOICES = ("labeled_index", "paste_index", "image_id", "partner_id")
_STEPS = (*_DRAWS, *_CHOICES, "cutmix_class")
_INITIAL = ("conf_initial", "present_initial", "config_json")


def _batch(config, arrays, index):
  chosen, pasted = (arrays[f"{n}_index"][index] for n in ("labeled", "paste"))
  scale = config["image_scale"]
  labeled = ael_replay.read(arrays["labeled_image_q"], scale)
  pool = ael_replay.read(arrays["unlabeled_image_q"], scale)
  first, second = (
    arrays[name][index : index + 1] for name in ("image_id", "partner_id")
  )
  has_partner = (pasted >= 0)[:, None, None]
  return {
    "image_l": labeled[chosen],
    "label_l": arrays["label"][chosen],
    "image_p": labeled[pasted] * has_partner[..., None],
    "label_p": arrays["label"][pasted] * has_partner,
    "image_u": pool[first],
    "image_u2": pool[second],
    "position_u": first,
    "position_u2": second,
    "class_u2": arrays["cutmix_class"][index : index + 1],
  }


@golden.once_per_input
def _run(names, *values):
  """State and metrics after each step."""
  arrays = dict(zip(names.tolist(), values, strict=True))
  config = ael_replay.read_config(arrays)
  _, _, tx = _optimizer(config)
  model = _Network(config["K"], config["D"])
  phases = _phases(config, model, {})
  state = train_state.create_train_state(
    jax.random.key(0), model, tx, phases[0]
  )
  student, teacher = (
    _from_torch(
      {
        name.removeprefix(f"net/{who}/"): value
        for name, value in arrays.items()
        if name.startswith(f"net/{who}/")
      }
    )
    for who in ("student", "teacher")
  )
  state = state.replace(
    params=student["params"],
    batch_stats=student["batch_stats"],
    memory=state.memory.replace(
      teacher=teacher,
      confidence=jnp.asarray(arrays["conf_initial"]),
      present=jnp.asarray(arrays["present_initial"] > 0),
    ),
  )
  results = []
  for index in range(config["steps"]):
    place = sum(phase.first_step <= index for phase in phases) - 1
    if index and phases[place].first_step == index:
      key = jax.random.key(0)
      state = train_state.begin_phase(state, phases[place], key)
    run = _compiled(str(arrays["config_json"]), place)
    draws = {name: arrays[name][index] for name in _DRAWS}
    with jax.default_matmul_precision("highest"):
      state, metrics = run(state, _batch(config, arrays, index), draws)
    results.append(jax.device_get((state, metrics)))
  return results


def _norm(entries):
  return np.sqrt(sum(np.sum(np.square(a, dtype="f8")) for a in entries))


def _describe(who, variables, initial, names):
  """Norms and entries of a network, by their names in the recordings."""
  wanted = {
    name.partition("/")[2]
    for name in names
    if name.startswith((f"{who}_param/", f"{who}_bn/"))
    and "num_batches" not in name
  }
  entries = _to_torch(variables, wanted)
  parameters = [n for n in entries if n.endswith(("weight", "bias"))]
  record = {}
  for group in ("encoder", "decoder", "auxor", "all"):
    members = [n for n in parameters if group in ("all", n.split(".")[0])]
    record[f"{who}_norm/{group}"] = _norm(entries[n] for n in members)
    record[f"{who}_delta_norm/{group}"] = _norm(
      entries[n].astype("f8") - initial[n] for n in members
    )
  for kind in ("running_mean", "running_var"):
    members = [n for n in entries if n.endswith(kind)]
    record[f"{who}_bn_norm/{kind}"] = _norm(entries[n] for n in members)
  for name, value in entries.items():
    kind = "param" if name in parameters else "bn"
    record[f"{who}_{kind}/{name}"] = value
  return record


def _replayed(path):
  """A recording's arrays, and ours under the same names."""
  arrays = golden.load(path)
  config = ael_replay.read_config(arrays)
  inputs = {
    name: array
    for name, array in arrays.items()
    if name in (*_POOLS, *_STEPS, *_INITIAL) or name.startswith("net/")
  }
  results = _run(np.array(list(inputs)), *inputs.values())
  # Those that moved are compared with the initial ones of the student.
  initial = {
    name.removeprefix("net/student/"): value
    for name, value in arrays.items()
    if name.startswith("net/student/")
  }
  records = []
  for state, metrics in results:
    loss = {n.removeprefix("loss/"): v for n, v in metrics.items()}
    weight = config["contra_weight"]
    difference = jax.tree.map(
      np.subtract, state.memory.teacher["params"], state.params
    )
    record = {
      "loss_sup": loss["supervised"],
      "loss_cons_l": loss["consistency_l"],
      "loss_cons_u": loss["consistency_u"],
      "loss_contra": loss.get("contrastive", 0.0) / weight,
      "drop_percent": metrics["semi/unreliable_percent"],
      "conf": state.memory.confidence,
      "present": state.memory.present,
      "teacher_minus_student_norm/all": _norm(jax.tree.leaves(difference)),
    }
    empty = np.zeros(config["K"], int)
    for name in ("contra_new_keys", "contra_low_valid", "queue_length"):
      record[name] = metrics["observed"].get(name, empty)
    for name in ("mixed_label", "pseudo_label_l", "pseudo_label_u"):
      record[name] = metrics["observed"][name]
    record |= _describe("student", state.student, initial, arrays)
    record |= _describe("teacher", state.memory.teacher, initial, arrays)
    records.append(record)
  ours = {n: np.stack([r[n] for r in records]) for n in records[0]}
  return config, arrays, ours


def _relative(actual, expected):
  """Relative L2 distance at each step."""
  actual, expected = (
    np.reshape(x, (len(x), -1)).astype("f8") for x in (actual, expected)
  )
  distance = np.linalg.norm(actual - expected, axis=1)
  return distance / np.maximum(np.linalg.norm(expected, axis=1), 1e-12)


@golden.every_file("ael_trajectory")
def test_losses(path):
  _, arrays, ours = _replayed(path)
  for name in ("loss_sup", "loss_cons_l", "loss_cons_u", "loss_contra"):
    error = np.abs(ours[name] - arrays[name])
    assert np.all(error <= 1e-4 * np.abs(arrays[name])), f"{name}: {error}"


@golden.every_file("ael_trajectory")
def test_learning_rates(path):
  arrays = golden.load(path)
  config = ael_replay.read_config(arrays)
  options, total, _ = _optimizer(config)
  rates = optim.learning_rates(
    options, learning_rate=config["lr"], total_steps=total
  )
  steps = np.arange(config["steps"])
  for recorded, group in zip(
    arrays["lr"].T, ("encoder", "head", "head"), strict=True
  ):
    # float32 here.
    np.testing.assert_allclose(rates[group](steps), recorded, rtol=1e-6)


@golden.every_file("ael_trajectory")
def test_state_of_the_classes(path):
  _, arrays, ours = _replayed(path)
  expected = arrays["drop_percent"]
  np.testing.assert_allclose(ours["drop_percent"], expected, rtol=1e-6)
  np.testing.assert_allclose(ours["conf"], arrays["conf"], rtol=0, atol=1e-5)
  differing = ours["present"] != arrays["present"]
  assert np.all(differing.sum((1, 2)) <= 2)


@golden.every_file("ael_trajectory")
def test_labels(path):
  _, arrays, ours = _replayed(path)
  np.testing.assert_array_equal(ours["mixed_label"], arrays["mixed_label"])
  for name in ("pseudo_label_l", "pseudo_label_u"):
    differing = ours[name] != arrays[name]
    differing = differing.reshape(len(differing), -1).sum(1)
    assert np.all(differing <= 3), f"{name}: {differing}"


_OF_NETWORKS = tuple(
  f"{who}_{what}"
  for who in ("student", "teacher")
  for what in ("param/", "norm/", "delta_norm/", "bn/", "bn_norm/")
)


@golden.every_file("ael_trajectory")
def test_networks(path):
  _, arrays, ours = _replayed(path)
  compared = 0
  for name, expected in arrays.items():
    if name.startswith(_OF_NETWORKS) and "num_batches" not in name:
      error = _relative(ours[name], expected)
      assert np.all(error <= 1e-4), f"{name}: off by {error}"
      compared += 1
  assert compared


@golden.every_file("ael_trajectory")
def test_distance_of_teacher_and_student(path):
  _, arrays, ours = _replayed(path)
  name = "teacher_minus_student_norm/all"
  error = np.abs(ours[name] - arrays[name])
  # The first step copies the student; what is left is rounding.
  assert np.all(error <= 1e-4 * arrays[name] + 1e-6), error


@golden.every_file("ael_trajectory")
def test_banks(path):
  """Exact in the first contrastive epoch; a key has moved by the next ones."""
  config, arrays, ours = _replayed(path)
  first = config["contrast"]["start_epoch"] * config["steps_per_epoch"]
  exact = slice(0, first + config["steps_per_epoch"])
  for name in ("contra_new_keys", "contra_low_valid", "queue_length"):
    np.testing.assert_array_equal(ours[name][exact], arrays[name][exact])
    np.testing.assert_allclose(ours[name], arrays[name], rtol=0, atol=6)


def test_statistics_move_twice_a_step():
  """The recordings count it; ours hold no counter, but the values agree."""
  for path in golden.find("ael_trajectory"):
    arrays = golden.load(path)
    for who in ("student", "teacher"):
      counts = arrays[f"{who}_bn/num_batches_tracked"]
      np.testing.assert_array_equal(np.diff(counts), np.diff(counts)[0])
      assert counts[0] == pytest.approx(np.diff(counts)[0])
