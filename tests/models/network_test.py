"""The whole network: dtypes, heads, options, toy parts."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests import networks
from u2pl_jax.models import network
from u2pl_jax.ops import normalize

HEADS = dict(
  num_classes=5,
  channels=8,
  low_level_channels=6,
  rep_channels=7,
  aux_head=True,
  aspp_rates=(1, 2),
)
TINY = HEADS | dict(encoder="resnet18", width=4)
LITE0 = HEADS | dict(encoder="efficientnet_lite0")
TOY = dict(num_classes=5, encoder="tests.toy_encoder")
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

  return jax.tree.map(draw, model.variable_shapes())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_outputs_parameters_and_statistics_are_float32(dtype):
  model = networks.make(**TINY, dtype=dtype)
  variables = model.variable_shapes()
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
  variables = _random_variables(networks.make(**TINY))
  logits = []
  for dtype in ("float32", "bfloat16"):
    model = networks.make(**TINY, dtype=dtype)
    run = jax.jit(
      lambda v, m=model: m.apply(v, IMAGES, train=False, dropout=False)
    )
    logits.append(np.asarray(run(variables)["logits"]))
  error = np.abs(logits[0] - logits[1]).max()
  assert 0 < error < 0.05 * np.abs(logits[0]).max()


def test_heads_left_out_leave_neither_outputs_nor_parameters():
  model = networks.make(**(TINY | dict(rep_channels=0, aux_head=False)))
  variables = model.variable_shapes()
  assert set(variables["params"]) == {"encoder", "decoder"}
  assert "representation" not in variables["params"]["decoder"]
  outputs = jax.eval_shape(
    lambda v: model.apply(v, IMAGES, train=False, dropout=False), variables
  )
  assert set(outputs) == {"logits"}


def test_train_and_dropout_are_independent():
  model = networks.make(**(TINY | dict(dropout_rate=0.5)))
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


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_efficientnet_serves_the_same_decoder(output_stride):
  model = networks.make(**LITE0, output_stride=output_stride)
  variables = model.variable_shapes()
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
  model = networks.make(**TINY)
  with pytest.raises(ValueError, match=r"\[B, H, W, 3\]"):
    model.init(
      jax.random.key(0), np.zeros((1, 3, 33, 33)), train=False, dropout=False
    )


def _lower_gradient(remat, options):
  """Of a loss on outputs and statistics; also the arguments to call it with."""
  model = networks.make(**options, output_stride=32, remat=remat)
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
  for remat in network.REMATS:
    lowered, params = _lower_gradient(remat, TINY | dict(multi_grid=False))
    results.append(lowered.compile()(params))
  # Of the rounding of the largest number: some gradients are sums that cancel.
  largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(results[0]))
  jax.tree.map(
    lambda left, right: np.testing.assert_allclose(
      left, right, rtol=1e-4, atol=1e-5 * largest
    ),
    *results,
  )


@pytest.mark.parametrize("options", [TINY, LITE0], ids=["resnet18", "lite0"])
def test_remat_computes_blocks_again(options):
  """Before optimization: XLA's CPU backend computes nothing twice."""
  counts = []
  for remat in network.REMATS:
    text = _lower_gradient(remat, options)[0].as_text()
    counts.append(text.count("stablehlo.convolution") + text.count("dot_gen"))
  assert counts[1] > 1.1 * counts[0]


def test_sections_are_the_published_defaults():
  assert network.sections() == {
    "model": {
      "encoder": "resnet101",
      "decoder": "deeplab",
      "pretrained": "",
      "dtype": "float32",
      "remat": "none",
      "freeze": "none",
    },
    "encoder": {
      "stem": "deep",
      "width": 64,
      "output_stride": 8,
      "multi_grid": True,
      "pool_ceil": True,
    },
    "decoder": {
      "channels": 256,
      "low_level_channels": 256,
      "rep_channels": 256,
      "aspp_rates": (12, 24, 36),
      "dropout_rate": 0.1,
      "aux_head": False,
    },
  }
  assert network.sections("efficientnet_lite0")["encoder"] == {
    "output_stride": 32
  }


def test_a_config_read_back_gives_an_equal_network():
  options = {k: v for k, v in TINY.items() if k != "num_classes"}
  config = networks.make_sections(**options)
  read = json.loads(json.dumps(config | {"optim": {"power": 1}}))
  model, again = (network.create(c, 5) for c in (config, read))
  assert model == again and hash(model) == hash(again)
  assert (model.num_classes, model.rep_channels, model.multiple) == (5, 7, 1)


@pytest.mark.parametrize("options", [TINY, LITE0], ids=["resnet18", "lite0"])
def test_images_are_normalized_as_the_encoder_wants(options):
  model = networks.make(**options)
  images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
  expected = (images - np.float32(model.mean_rgb)) / np.float32(model.std_rgb)
  np.testing.assert_array_equal(model.normalize(images), expected)
  if options is TINY:
    np.testing.assert_array_equal(expected, normalize.normalize(images))
  else:
    np.testing.assert_array_equal(expected, (images - 127.0) / 128)


# Some initial values of version 0.1, by path; checkpoints and exact repetition
# of runs depend on the names that parameters are drawn by.
INITIAL = {
  "resnet18": {
    "encoder/stem_conv1/kernel": [0.4374649, -0.1791396, 0.09350275],
    "encoder/layer4_1/conv2/kernel": [-0.03979265, -0.1064055, 0.05926862],
    "decoder/aspp/branch4/conv/kernel": [0.006237649, 0.03635541, 0.04506299],
    "decoder/representation/output/bias": [-0.2991796, 0.1458327, 0.000419024],
    "auxor/block1/conv/bias": [0.03560299, -0.07597586, 0.0227833],
  },
  "efficientnet_lite0": {
    "encoder/stem_conv/kernel": [0.153648, -0.04014481, -0.1947996],
    "encoder/block15/depthwise_conv/kernel": [
      -0.1111697,
      -0.06752544,
      0.1324184,
    ],
    "decoder/classifier/output/kernel": [0.05074447, -0.3504501, 0.08545543],
    "auxor/output/bias": [0.06464636, 0.06716303, -0.01829333],
  },
}


@pytest.mark.parametrize("options", [TINY, LITE0], ids=["resnet18", "lite0"])
def test_initial_values_never_change(options):
  model = networks.make(**options)
  params = jax.jit(model.init_variables)(jax.random.key(3))["params"]
  leaves = traverse_util.flatten_dict(params, sep="/")
  for path, values in INITIAL[options["encoder"]].items():
    actual = leaves[path].ravel()[: len(values)]
    np.testing.assert_allclose(actual, values, rtol=1e-5, err_msg=path)


@pytest.mark.parametrize(
  "options, parts",
  [
    (dict(decoder="tests.toy_decoder"), set()),
    (dict(channels=8, aspp_rates=(1,), aux_head=True), {"decoder", "auxor"}),
  ],
  ids=["toy_decoder", "deeplab"],
)
def test_statistics_are_optional(options, parts):
  model = networks.make(**TOY, **options)
  assert model.multiple == 14
  images = np.full((2, 28, 42, 3), 255, np.uint8)
  inputs = model.normalize(images)
  np.testing.assert_allclose(
    inputs[0, 0, 0], [155 / 50, 145 / 60, 135 / 70], rtol=1e-6
  )
  variables = model.init_variables(jax.random.key(0))
  assert set(variables) == {"params", "batch_stats"}
  assert set(variables["batch_stats"]) == parts
  assert jax.tree.structure(variables) == jax.tree.structure(
    model.variable_shapes()
  )
  evaluated = model.apply(variables, inputs, train=False, dropout=False)
  trained, updates = model.apply(
    variables, inputs, train=True, dropout=False, mutable=["batch_stats"]
  )
  assert set(updates.get("batch_stats", {})) == parts
  for outputs in (evaluated, trained):
    assert outputs["logits"].shape == (2, 2, 3, 5)
    assert outputs["rep"].shape == (2, 2, 3, model.rep_channels)
    assert all(np.all(np.isfinite(output)) for output in outputs.values())


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      {"model": {"encoder": "resnet20"}},
      "model.encoder='resnet20': expected one of dinov2_vits14, ",
    ),
    ({"model": {"encoder": "no.such"}}, "model.encoder='no.such': No module"),
    ({"model": {"decoder": "x"}}, "model.decoder='x': expected one of deeplab"),
    ({"model": {"dtype": "float16"}}, "model.dtype='float16': expected one of"),
    (
      {"encoder": {"width": 0}},
      "encoder.width=0: must be >= 1, with model.enc",
    ),
    ({"encoder": {"stem": "conv3"}}, "encoder.stem='conv3': expected one of"),
    ({"encoder": {"output_stride": 4}}, "encoder.output_stride=4: expected"),
    ({"encoder": {"color": 4}}, "unknown config key 'encoder.color'; the near"),
    (
      {"model": {"encoder": "efficientnet_lite0"}},
      "unknown config key 'encoder.stem'; the nearest is"
      " 'encoder.output_stride', with model.encoder='efficientnet_lite0'",
    ),
    ({"decoder": {"channels": 0}}, "decoder.channels=0: must be >= 1"),
    ({"decoder": {"low_level_channels": -1}}, "decoder.low_level_channels=-1"),
    (
      {"decoder": {"rep_channels": -1}},
      "decoder.rep_channels=-1: must be >= 0",
    ),
    ({"decoder": {"aspp_rates": ()}}, "decoder.aspp_rates=(): must hold"),
    ({"decoder": {"aspp_rates": [6, 0]}}, "decoder.aspp_rates=(6, 0): must be"),
    (
      {"decoder": {"dropout_rate": 1.0}},
      "decoder.dropout_rate=1.0: must be in [0, 1)",
    ),
  ],
)
def test_values_out_of_range_are_refused_by_key(changes, message):
  sections = network.sections("resnet18")
  for section, values in changes.items():
    sections[section] |= values
  with pytest.raises(ValueError) as error:
    network.create(sections, 5)
  assert str(error.value).startswith(message)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["model", "encoder", "decoder"])
def test_a_missing_section_is_named(missing):
  sections = network.sections()
  del sections[missing]
  with pytest.raises(
    ValueError, match=f"^{missing} is missing from the config"
  ):
    network.create(sections, 5)


@pytest.mark.parametrize("num_classes", [1, 256])
def test_classes_out_of_range_are_refused(num_classes):
  with pytest.raises(ValueError, match=f"num_classes={num_classes}: must be"):
    network.create(network.sections(), num_classes)


class TestScaledFeatures:
  """Methods may drop channels of the features that the decoder reads."""

  MODEL = networks.make(**TINY)

  def run(self, train=False, **scales):
    outputs, updates = self.MODEL.apply(
      _random_variables(self.MODEL),
      IMAGES,
      train=train,
      dropout=False,
      mutable=["batch_stats"],
      **scales,
    )
    return outputs, updates

  def test_widths_are_those_of_the_features_that_the_decoder_reads(self):
    found = self.MODEL.feature_widths()
    assert len(found) > 2 and found[1] is None
    features = jax.eval_shape(
      lambda v: self.MODEL.apply(v, IMAGES, train=False, method="encode"),
      self.MODEL.variable_shapes(),
    )
    assert (found[0], found[-1]) == tuple(
      features[index].shape[-1] for index in (0, -1)
    )

  def scales(self, value):
    return tuple(
      None if width is None else np.full((2, width), value, np.float32)
      for width in self.MODEL.feature_widths()
    )

  def test_ones_change_nothing_and_zeros_leave_no_image(self):
    plain, _ = self.run()
    same, _ = self.run(feature_scales=self.scales(1.0))
    np.testing.assert_array_equal(same["logits"], plain["logits"])
    blank, _ = self.run(feature_scales=self.scales(0.0))
    np.testing.assert_allclose(
      blank["logits"][0], blank["logits"][1], rtol=1e-5, atol=1e-5
    )

  def test_copies_are_decoded_beside_the_features(self):
    outputs, _ = self.run(perturbed_scales=self.scales(1.0))
    plain, _ = self.run()
    for name in ("logits", "rep", "aux"):
      np.testing.assert_allclose(
        outputs[name], plain[name], rtol=1e-4, atol=1e-4
      )
    np.testing.assert_allclose(
      outputs["perturbed"], plain["logits"], rtol=1e-4, atol=1e-4
    )

  def test_copies_and_features_share_the_statistics_of_the_decoder(self):
    zeros = self.scales(0.0)
    plain, _ = self.run(train=True)
    shared, _ = self.run(train=True, perturbed_scales=zeros)
    assert np.abs(plain["logits"] - shared["logits"]).max() > 0.01
