"""UniMatch V2's labeled-only training: losses, rates, and how far all moves."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import dpt_model_test, golden, vit
from u2pl_jax.losses import pixelwise
from u2pl_jax.ops import resize
from u2pl_jax.training import optim

# Steps to insist on; afterwards rounding has moved losses by 1e-4.
_SURE = 3
# Adam turns the noise that is the gradient of the keys' bias into full steps.
_NOISE = "attn.qkv.bias"


def _make_optimizer(config, model, total_steps):
  settings = optim.OptimOptions(
    kind="adamw",
    learning_rate=config["lr"],
    factors={"encoder": 1.0, "head": config["lr_multi"]},
    weight_decay=0.01,
    late_rate=True,
  )
  length = dict(learning_rate=config["lr"], total_steps=total_steps)
  tx = optim.create_optimizer(settings, **length, idle=model.idle)
  return tx, optim.learning_rates(settings, **length)


@golden.once_per_input
def _run(about_json, labels):
  """Losses, rates, distances from the start, and changes after each step."""
  about = json.loads(str(about_json))
  config, salt = about["config"], about["salt"]
  size = config["backbone"].removeprefix("dinov2_")
  model, variables = dpt_model_test.build(size, config["nclass"], salt)
  count = about["steps_per_epoch"]
  total = count * config["epochs"]
  tx, rates = _make_optimizer(config, model, total)
  start = variables["params"]

  def compute(params, image, label):
    outputs = model.apply({"params": params}, image, train=True, dropout=False)
    logits = resize.resize_bilinear(outputs["logits"], label.shape[1:])
    return pixelwise.cross_entropy(logits, label)

  @jax.jit
  def step(params, state, image, label):
    loss, grads = jax.value_and_grad(compute)(params, image, label)
    updates, state = tx.update(grads, state, params)
    params = jax.tree.map(jnp.add, params, updates)
    return params, state, loss

  params, state, found = start, tx.init(start), []
  with jax.default_matmul_precision("highest"):
    for index in range(total):
      batch = index % count
      shape = (about["batch"], 3, *labels.shape[2:])
      image = vit.make_image(f"supervised:{batch}", shape, salt)
      params, state, loss = step(
        params,
        state,
        golden.channels_last(image),
        jnp.asarray(labels[batch], jnp.int32),
      )
      change = jax.tree.map(lambda a, b: np.asarray(a - b), params, start)
      lr = [float(rates[group](index)) for group in ("encoder", "head")]
      found.append((float(loss), lr, dpt_model_test.as_published(change)))
  return found


def _load(path):
  arrays = golden.load(path)
  return arrays, _run(arrays["config_json"], arrays["labels"])


def _tolerances(arrays, name):
  """Ten times what float32 loses at that step, but 1e-4 at least."""
  exact = arrays[f"float64/{name}"]
  gaps = np.abs(arrays[name] - exact) / np.abs(exact)
  return np.maximum(10 * gaps, 1e-4)


every_file = golden.every_file_but("dpt_supervised_steps", ("steps",))


@every_file
def test_losses(path):
  arrays, found = _load(path)
  losses = np.array([loss for loss, _, _ in found])
  error = np.abs(losses / arrays["loss"] - 1)
  np.testing.assert_array_less(error, _tolerances(arrays, "loss"))
  np.testing.assert_array_less(error[:_SURE], 1e-4)


@every_file
def test_rates(path):
  arrays, found = _load(path)
  rates = [rates for _, rates, _ in found]
  np.testing.assert_allclose(rates, arrays["lr_encoder_head"], rtol=1e-5)


@every_file
def test_distances_from_the_start(path):
  arrays, found = _load(path)
  for part in ("backbone", "head"):
    name = f"delta_norm/{part}"
    norms = [
      np.sqrt(
        sum(
          np.sum(np.square(value, dtype=np.float64))
          for key, value in changes.items()
          if key.startswith(f"{part}.")
        )
      )
      for _, _, changes in found
    ]
    error = np.abs(np.array(norms) / arrays[name] - 1)
    np.testing.assert_array_less(
      error, np.maximum(_tolerances(arrays, name), 1e-3)
    )


@every_file
def test_changes(path):
  """Of the first three steps, element by element where the sign is sure."""
  arrays, found = _load(path)
  seen = 0
  for key, expected in arrays.items():
    if not key.startswith("step") or key.endswith(_NOISE):
      continue
    index, name = int(key[4 : key.index("/")]), key.split("/", 2)[2]
    seen += 1
    actual = found[index - 1][2][name]
    if not np.any(expected):
      np.testing.assert_array_equal(actual, 0, err_msg=name)
    elif index <= _SURE:
      # A gradient near zero has a sign by chance, and moves by a whole step.
      difference = np.linalg.norm(actual - expected)
      assert difference < 0.05 * np.linalg.norm(expected), key
    else:
      ratio = np.linalg.norm(actual) / np.linalg.norm(expected)
      assert ratio == pytest.approx(1, abs=0.02), key
  assert seen
