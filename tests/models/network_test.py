"""The whole network: dtypes, heads, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import network
from u2pl_jax.models.decoders import deeplab

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
LITE0 = dict(
  encoder="efficientnet_lite0", stem="conv3", width=64, multi_grid=False
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

  return jax.tree.map(draw, network.variable_shapes(model))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_outputs_parameters_and_statistics_are_float32(dtype):
  model = deeplab.create_model(**TINY, dtype=dtype)
  variables = network.variable_shapes(model)
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
  variables = network.variable_shapes(model)
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


@pytest.mark.parametrize(
  "encoder,key,value",
  [
    ("efficientnet_lite0", "stem", "deep"),
    ("efficientnet_lite0", "width", 32),
    ("efficientnet_lite0", "multi_grid", True),
    ("resnet18", "stem", "conv3"),
  ],
)
def test_values_that_an_encoder_lacks_are_refused(encoder, key, value):
  fitting = TINY
  if encoder == "efficientnet_lite0":
    fitting = TINY | LITE0
  with pytest.raises(ValueError) as error:
    deeplab.create_model(**(fitting | {"encoder": encoder, key: value}))
  message = str(error.value)
  assert f"model.{key} must be" in message and "\n" not in message
  assert repr(encoder) in message and message.endswith(f"got {value!r}")


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_efficientnet_serves_the_same_decoder(output_stride):
  model = deeplab.create_model(
    **(TINY | LITE0 | dict(output_stride=output_stride))
  )
  variables = network.variable_shapes(model)
  outputs, updates = jax.eval_shape(
    lambda v: model.apply(
      v, IMAGES, train=True, dropout=False, mutable=["batch_stats"]
    ),
    variables,
  )
  assert set(variables["params"]) == {"encoder", "decoder", "auxor"}
  low_level = variables["params"]["decoder"]["low_level"]["conv"]["kernel"]
  assert low_level.shape == (1, 1, 24, 6)
  shapes = {key: output.shape for key, output in outputs.items()}
  aux = (2, 5, 6, 5) if output_stride == 8 else (2, 3, 3, 5)
  assert shapes == {"logits": (2, 9, 11, 5), "rep": (2, 9, 11, 7), "aux": aux}
  assert {leaf.dtype for leaf in jax.tree.leaves((outputs, updates))} == {
    jnp.dtype("float32")
  }


def test_images_of_another_layout_are_refused():
  model = deeplab.create_model(**TINY)
  with pytest.raises(ValueError, match=r"\[B, H, W, 3\]"):
    model.init(
      jax.random.key(0), np.zeros((1, 3, 33, 33)), train=False, dropout=False
    )


def _lower_gradient(remat, **changes):
  """Of a loss on outputs and statistics; also the arguments to call it with."""
  options = TINY | dict(output_stride=32, multi_grid=False) | changes
  model = deeplab.create_model(**options, remat=remat)
  variables = _random_variables(model)

  def loss(params):
    outputs, updates = model.apply(
      variables | {"params": params},
      IMAGES,
      train=True,
      dropout=False,
      mutable=["batch_stats"],
    )
    return jnp.sum(jnp.sin(outputs["logits"])), (outputs, updates)

  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
  return gradient.lower(variables["params"]), variables["params"]


def test_remat_changes_no_result():
  results = []
  for remat in (False, True):
    lowered, params = _lower_gradient(remat)
    results.append(lowered.compile()(params))
  # Of the rounding of the largest number: some gradients are sums that cancel.
  largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(results[0]))
  jax.tree.map(
    lambda left, right: np.testing.assert_allclose(
      left, right, rtol=1e-4, atol=1e-5 * largest
    ),
    *results,
  )


@pytest.mark.parametrize("changes", [{}, LITE0], ids=["resnet18", "lite0"])
def test_remat_computes_blocks_again(changes):
  """Before optimisation: XLA's CPU backend computes nothing twice."""
  counts = []
  for remat in (False, True):
    text = _lower_gradient(remat, **changes)[0].as_text()
    counts.append(text.count("stablehlo.convolution") + text.count("dot_gen"))
  assert counts[1] > 1.1 * counts[0]
