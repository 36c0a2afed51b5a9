"""The whole network: equality with the published one, dtypes, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_weights
from u2pl_jax import resize
from u2pl_jax.models import deeplab, torch_import

TINY = dict(
  num_classes=5,
  encoder="resnet18",
  width=4,
  decoder_channels=8,
  low_level_channels=6,
  rep_channels=7,
  aux_head=True,
  aspp_rates=(1, 2),
)
IMAGES = np.random.default_rng(0).normal(size=(2, 33, 41, 3)).astype("float32")


def _random_variables(model):
  """Variables from numpy: quicker than compiling the network's init."""
  rng = np.random.default_rng(1)

  def draw(leaf):
    values = rng.uniform(0.5, 1, leaf.shape)
    if len(leaf.shape) > 1:
      fan_in = np.prod(leaf.shape[:-1])
      values = rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)
    return values.astype(np.float32)

  return jax.tree.map(draw, golden_weights.variable_shapes(model))


@pytest.mark.parametrize(
  "name",
  ["model_eval_r50_c21_65x65.npz", "model_eval_r50_c19_os16_dil6_72x90.npz"],
)
def test_evaluation_equals_the_published_network(name):
  golden, config = golden_weights.load(name)
  model, variables = golden_weights.build(config)
  image = golden_weights.to_nhwc(golden["image"])
  with jax.default_matmul_precision("highest"):
    outputs, captured = jax.jit(
      lambda v, x: model.apply(
        v,
        x,
        train=False,
        dropout=False,
        capture_intermediates=lambda module, _: module.name == "encoder",
      )
    )(variables, image)
  features = captured["intermediates"]["encoder"]["__call__"][0]
  _assert_features_equal(features, golden)
  _assert_outputs_equal(outputs, golden, atol=1e-4)
  norm = np.linalg.norm(outputs["rep"], axis=-1)
  np.testing.assert_allclose(norm, golden["rep_norm"], rtol=0, atol=1e-4)
  top = np.sort(golden["pred"], axis=1)
  is_clear = top[:, -1] - top[:, -2] > 1e-3
  agrees = np.argmax(outputs["logits"], -1) == golden["pred_argmax"]
  assert np.all(agrees[is_clear])


def _assert_features_equal(features, golden):
  for index, feature in enumerate(features, start=1):
    feature = np.asarray(feature).transpose(0, 3, 1, 2)
    assert feature.shape == tuple(golden[f"feat{index}_shape"])
    sample = feature[:, :: feature.shape[1] // 16, ::3, ::3]
    for actual, key in (
      (sample, "sample"),
      (feature.mean(), "mean"),
      (feature.std(), "std"),
    ):
      np.testing.assert_allclose(
        actual, golden[f"feat{index}_{key}"], rtol=0, atol=1e-4
      )


def _assert_outputs_equal(outputs, golden, atol):
  pairs = {
    "pred": outputs["logits"],
    "aux": outputs["aux"],
    "rep_every8": outputs["rep"][..., ::8],
  }
  for key, actual in pairs.items():
    expected = golden_weights.to_nhwc(golden[key])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def _cross_entropy(logits, label):
  logits = resize.resize_bilinear(logits, label.shape[1:])
  is_valid = label != 255
  index = jnp.where(is_valid, label, 0)[..., None]
  log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), index, -1)
  return -jnp.sum(log_probs[..., 0], where=is_valid) / is_valid.sum()


def _train_golden(name):
  """Outputs, losses, and gradients and statistics by PyTorch name."""
  golden, config = golden_weights.load(name)
  model, variables = golden_weights.build(config)

  def loss_fn(params, batch_stats, image, label):
    outputs, updates = model.apply(
      {"params": params, "batch_stats": batch_stats},
      image,
      train=True,
      dropout=False,
      mutable=["batch_stats"],
    )
    losses = {
      "loss_ce_pred": _cross_entropy(outputs["logits"], label),
      "loss_ce_aux": _cross_entropy(outputs["aux"], label),
      "rep_mean_sq": jnp.mean(jnp.square(outputs["rep"])),
    }
    total = sum(map(jnp.multiply, (1.0, 0.4, 0.1), losses.values()))
    return total, (outputs, losses, updates["batch_stats"])

  with jax.default_matmul_precision("highest"):
    (total, (outputs, losses, stats)), gradients = jax.jit(
      jax.value_and_grad(loss_fn, has_aux=True)
    )(
      variables["params"],
      variables["batch_stats"],
      golden_weights.to_nhwc(golden["image"]),
      golden["label"],
    )
  entries = torch_import.to_torch({"params": gradients, "batch_stats": stats})
  return golden, outputs, losses | {"loss_total": total}, entries


def test_training_equals_the_published_network():
  golden, outputs, losses, entries = _train_golden(
    "model_train_r50_c21_65x65_b3.npz"
  )
  _assert_outputs_equal(outputs, golden, atol=5e-4)
  for key, value in losses.items():
    np.testing.assert_allclose(value, golden[key], rtol=1e-5)
  for name in golden["bn_names"]:
    for key, kind in (("rm", "running_mean"), ("rv", "running_var")):
      np.testing.assert_allclose(
        entries[f"{name}.{kind}"], golden[f"{key}/{name}"], rtol=0, atol=1e-5
      )
  _assert_gradients_equal(entries, golden)


def _assert_gradients_equal(entries, golden):
  norms = np.array([np.linalg.norm(entries[n]) for n in golden["param_names"]])
  is_zero = golden["grad_is_zero_by_construction"]
  assert norms[is_zero].max() < 1e-6
  error = np.abs(norms / golden["grad_l2_float64"] - 1)[~is_zero]
  assert error.max() < 2e-2 and np.median(error) < 2e-3
  for key in golden:
    if key.startswith("grad64/"):
      difference = entries[key.removeprefix("grad64/")] - golden[key]
      assert np.linalg.norm(difference) < 2e-2 * np.linalg.norm(golden[key])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_outputs_parameters_and_statistics_are_float32(dtype):
  model = deeplab.create_model(**TINY, dtype=dtype)
  variables = golden_weights.variable_shapes(model)
  outputs, updates = jax.eval_shape(
    lambda v: model.apply(
      v, IMAGES, train=True, dropout=False, mutable=["batch_stats"]
    ),
    variables,
  )
  leaves = jax.tree.leaves((variables, outputs, updates))
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
  assert outputs["logits"].shape == (2, 9, 11, 5)
  assert outputs["rep"].shape == (2, 9, 11, 7)
  assert outputs["aux"].shape == (2, 5, 6, 5)


def test_bfloat16_computes_close_to_float32():
  variables = _random_variables(deeplab.create_model(**TINY))
  logits = []
  for dtype in ("float32", "bfloat16"):
    model = deeplab.create_model(**TINY, dtype=dtype)
    run = jax.jit(
      lambda v, m=model: m.apply(v, IMAGES, train=False, dropout=False)
    )
    logits.append(np.asarray(run(variables)["logits"]))
  error = np.abs(logits[0] - logits[1]).max()
  assert 0 < error < 0.05 * np.abs(logits[0]).max()


def test_heads_left_out_leave_neither_outputs_nor_parameters():
  model = deeplab.create_model(**(TINY | dict(rep_channels=0, aux_head=False)))
  variables = golden_weights.variable_shapes(model)
  assert set(variables["params"]) == {"encoder", "decoder"}
  assert "representation" not in variables["params"]["decoder"]
  outputs = jax.eval_shape(
    lambda v: model.apply(v, IMAGES, train=False, dropout=False), variables
  )
  assert set(outputs) == {"logits"}


def test_train_and_dropout_are_independent():
  model = deeplab.create_model(**(TINY | dict(dropout_rate=0.5)))
  variables = _random_variables(model)

  @jax.jit
  def run(key):
    rngs = {"dropout": key}
    arguments = variables, IMAGES
    plain = model.apply(*arguments, train=False, dropout=False)
    dropped = model.apply(*arguments, train=False, dropout=True, rngs=rngs)
    trained, updates = model.apply(
      *arguments, train=True, dropout=False, mutable=["batch_stats"]
    )
    return plain["logits"], dropped["logits"], trained["logits"], updates

  plain, dropped, trained, updates = run(jax.random.key(1))
  plain_again, dropped_again, trained_again, _ = run(jax.random.key(2))
  np.testing.assert_array_equal(plain, plain_again)
  np.testing.assert_array_equal(trained, trained_again)
  assert np.any(dropped != dropped_again)
  assert np.any(plain != trained)
  moved = jax.tree.map(
    lambda a, b: np.any(a != b),
    updates["batch_stats"],
    variables["batch_stats"],
  )
  assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
  "key,value",
  [
    ("num_classes", 1),
    ("num_classes", 256),
    ("encoder", "resnet20"),
    ("stem", "shallow"),
    ("width", 0),
    ("output_stride", 4),
    ("decoder_channels", 0),
    ("low_level_channels", -1),
    ("rep_channels", -1),
    ("aspp_rates", ()),
    ("aspp_rates", (6, 0)),
    ("dropout_rate", 1.0),
    ("dtype", "float16"),
  ],
)
def test_values_out_of_range_are_refused_by_key(key, value):
  with pytest.raises(ValueError, match=f"model.{key} must be"):
    deeplab.create_model(**(TINY | {key: value}))


def test_images_of_another_layout_are_refused():
  model = deeplab.create_model(**TINY)
  with pytest.raises(ValueError, match=r"\[B, H, W, 3\]"):
    model.init(
      jax.random.key(0), np.zeros((1, 3, 33, 33)), train=False, dropout=False
    )
