"""DINOv2's encoders: names, options, drop path, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import networks, tiny_vit
from u2pl_jax.models import encoders, network
from u2pl_jax.models.encoders import dinov2
from u2pl_jax.models.vit import blocks, transformer


def make(**changes):
  options = dinov2.Options(**changes)
  return tiny_vit.create("", options, dtype=jnp.float32, remat=False)


@pytest.fixture(scope="module")
def images():
  return jax.random.normal(jax.random.key(0), (3, 28, 42, 3))


@pytest.fixture(scope="module")
def variables(images):
  return make().init(jax.random.key(1), images, train=False)


def test_there_are_four_sizes_with_and_without_registers():
  assert len(dinov2.NAMES) == 8
  for name in dinov2.NAMES:
    model = encoders.find(name).create(
      name, dinov2.Options(), dtype=jnp.float32, remat=False
    )
    assert model.width == 64 * model.num_heads
    assert model.taken[-1] == model.depth - 1
    assert bool(model.num_registers) == name.endswith("_reg")


def test_layers_hold_all_parameters():
  name = "dinov2_vits14_reg"
  model = dinov2.create(name, dinov2.Options(), dtype=jnp.float32, remat=False)
  image = jax.ShapeDtypeStruct((1, 28, 28, 3), jnp.float32)
  shapes = jax.eval_shape(
    lambda x: model.init(jax.random.key(0), x, train=False), image
  )
  layers = dinov2.list_layers(name, dinov2.Options())
  assert len(layers) == 1 + 12 + 1
  named = [part for layer in layers for part in layer]
  assert sorted(named) == sorted(shapes["params"])


def test_features_are_of_one_size_and_stride(images, variables):
  features = make().apply(variables, images, train=False)
  assert [f.shape for f in features] == [(3, 2, 3, tiny_vit.WIDTH)] * 4
  assert make().strides == (14,) * 4


def test_sides_must_be_multiples(variables):
  with pytest.raises(ValueError, match="28 x 33 px: both .* multiples of 14"):
    make().apply(variables, jnp.zeros((1, 28, 33, 3)), train=False)


def test_dropped_residuals_have_the_same_mean(variables):
  """A residual is left out of an image, or scaled up."""
  block = blocks.Block(
    num_heads=2,
    feed_forward="mlp",
    use_bias=True,
    layer_scale=False,
    drop_rate=0.5,
    keep_scores=True,
    dtype=jnp.float32,
  )
  y = jnp.ones((4000, 1, 1))
  found = block.apply(
    {}, y, "ls1", True, method="_finish", rngs={"dropout": jax.random.key(0)}
  )
  assert set(np.unique(found)) == {0.0, 2.0}
  assert abs(float(found.mean()) - 1) < 5 * (1 / 4000) ** 0.5


def test_drop_path_acts_in_train_mode_alone(images, variables):
  plain = make().apply(variables, images, train=True)
  dropping = make(drop_path=0.9)
  rngs = {"dropout": jax.random.key(0)}
  same = dropping.apply(variables, images, train=False, rngs=rngs)
  other = dropping.apply(variables, images, train=True, rngs=rngs)
  np.testing.assert_array_equal(plain[-1], same[-1])
  # The rate rises from 0 at the first block.
  np.testing.assert_array_equal(plain[0], other[0])
  assert np.any(plain[-1] != other[-1])


@pytest.mark.parametrize("kind, first", [("linear", 0.0), ("uniform", 0.3)])
def test_rates_of_drop_path(kind, first):
  model = make(drop_path=0.3, drop_path_kind=kind)
  assert model._drop_rates()[[0, -1]] == pytest.approx([first, 0.3])


def test_bfloat16_is_near_float32_and_keeps_positions_exact(images, variables):
  narrow = tiny_vit.create(
    "", dinov2.Options(), dtype=jnp.bfloat16, remat=False
  )
  features = narrow.apply(variables, images, train=False)
  expected = make().apply(variables, images, train=False)
  assert all(f.dtype == jnp.bfloat16 for f in features)
  error = np.abs(features[-1].astype(jnp.float32) - expected[-1]).max()
  assert error < 0.1 * float(expected[-1].std())
  table = jnp.ones((16, 4))
  found = transformer.resize_positions(table, (3, 5), "offset")
  assert found.dtype == jnp.float32


def test_what_is_computed_again_changes_no_result(images, variables):
  def gradient(model):
    def loss(params):
      features = model.apply({"params": params}, images, train=True)
      return jnp.sum(features[-1] ** 2 * jnp.arange(tiny_vit.WIDTH))

    return jax.jit(jax.grad(loss))(variables["params"])

  expected = gradient(make())
  again = gradient(make(keep_scores=False))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3),
    again,
    expected,
  )


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"encoder.drop_path": 1.0}, "encoder.drop_path=1.0: must be in"),
    ({"encoder.drop_path_kind": "x"}, "encoder.drop_path_kind='x': expected"),
    ({"decoder.projections": (4, 4)}, "decoder.projections=.*: must be 4"),
    ({"model.freeze": "decoder"}, "model.freeze='decoder': expected one of"),
  ],
)
def test_bad_options_are_refused_by_key(changes, message):
  with pytest.raises(ValueError, match=message) as error:
    network.create(tiny_vit.make_sections(**changes), 5)
  assert "\n" not in str(error.value)


def test_a_decoder_that_does_not_fit_is_refused():
  with pytest.raises(ValueError, match="model.decoder='dpt': needs 4 features"):
    networks.make(num_classes=5, encoder="resnet50", decoder="dpt")


def test_a_width_without_published_widths_of_the_head_is_refused():
  sections = tiny_vit.make_sections(**{"decoder.projections": ()})
  model = network.create(sections, 5)
  with pytest.raises(ValueError, match="encoder of 24 channels; set both"):
    model.variable_shapes()


def test_unknown_sizes_are_refused():
  shapes = {"blocks.0.norm1.weight": (100,), "blocks.1.norm1.weight": (100,)}
  with pytest.raises(ValueError, match="width 100 with 2 blocks; known ones"):
    dinov2.recognize(shapes)
