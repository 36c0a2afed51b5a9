"""Encoders: published shapes and sizes, and dilation in place of stride."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.models.encoders import resnet

IMAGE = (1, 33, 49, 3)


def _shapes(encoder):
  return jax.eval_shape(
    lambda: encoder.init(jax.random.key(0), jnp.ones(IMAGE), train=False)
  )


@pytest.mark.parametrize(
  "depth,expected",
  # torchvision's parameter counts less those of its 1000-class layer.
  [(18, 11176512), (34, 21284672), (50, 23508032), (101, 42500160)],
)
def test_parameter_count_is_torchvisions(depth, expected):
  params = _shapes(resnet.ResNet(depth, "conv7"))["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize("depth,blocks", [(18, 2), (34, 3)])
def test_dilated_basic_blocks_keep_their_parameter_shapes(depth, blocks):
  dilated = _shapes(resnet.ResNet(depth, output_stride=8, multi_grid=True))
  strided = _shapes(resnet.ResNet(depth, output_stride=32, multi_grid=False))
  assert dilated == strided
  params = dilated["params"]
  assert params["stem_conv3"]["kernel"].shape == (3, 3, 64, 128)
  assert params["layer1_0"]["downsample_conv"]["kernel"].shape == (
    1,
    1,
    128,
    64,
  )
  assert params["layer4_0"]["conv1"]["kernel"].shape == (3, 3, 256, 512)
  assert params["layer4_0"]["downsample_bn"]["scale"].shape == (512,)
  last = params[f"layer4_{blocks - 1}"]
  assert last["conv2"]["kernel"].shape == (3, 3, 512, 512)
  assert f"layer4_{blocks}" not in params


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("depth,expansion", [(18, 1), (101, 4)])
def test_feature_shapes_follow_width_and_output_stride(
  depth, expansion, output_stride
):
  encoder = resnet.ResNet(depth, width=8, output_stride=output_stride)
  features = jax.eval_shape(
    lambda: encoder.init_with_output(
      jax.random.key(0), jnp.ones(IMAGE), train=False
    )[0]
  )
  assert len(features) == len(encoder.strides)
  for layer, feature in enumerate(features):
    stride = min(4 * 2**layer, output_stride)
    assert encoder.strides[layer] == stride
    height, width = 32 // stride + 1, 48 // stride + 1
    channels = 8 * expansion * 2**layer
    assert feature.shape == (1, height, width, channels)


def test_deep_stem_of_an_even_image_has_ceil_mode_size():
  encoder = resnet.ResNet(18, width=4)
  features = jax.eval_shape(
    lambda: encoder.init_with_output(
      jax.random.key(0), jnp.ones((1, 80, 114, 3)), train=False
    )[0]
  )
  assert features[0].shape[1:3] == (21, 29)


def _random_variables(encoder):
  """Variables without the zeros that would silence the residual branches."""
  rng = np.random.default_rng(3)
  return jax.tree.map(
    lambda leaf: (
      rng.uniform(0.5, 1, leaf.shape)
      if leaf.ndim == 1
      else rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:3]))
    ).astype(np.float32),
    _shapes(encoder),
  )


@pytest.mark.parametrize("depth", [18, 50])
def test_dilation_keeps_the_strided_networks_values(depth):
  def features(output_stride):
    encoder = resnet.ResNet(
      depth, "conv7", 4, output_stride=output_stride, multi_grid=False
    )
    variables = _random_variables(encoder)
    with jax.default_matmul_precision("highest"):
      return jax.jit(lambda v, x: encoder.apply(v, x, train=False))(
        variables, image
      )

  image = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
  dilated, strided = features(8), features(32)
  for layer, step in ((2, 2), (3, 4)):
    np.testing.assert_allclose(
      dilated[layer][:, ::step, ::step], strided[layer], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
  "block,last_bn", [(resnet.BasicBlock, "bn2"), (resnet.Bottleneck, "bn3")]
)
def test_residual_branches_start_at_zero(block, last_bn):
  module = block(64, 1, (2, 2), jnp.float32)
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 64)).astype(np.float32)
  y, variables = jax.jit(
    lambda key: module.init_with_output(key, x, train=True)
  )(jax.random.key(0))
  np.testing.assert_array_equal(y, np.maximum(x, 0))
  params = variables["params"]
  assert not np.any(params[last_bn]["scale"])
  np.testing.assert_array_equal(params["bn1"]["scale"], 1)
  kernel = params["conv2"]["kernel"]
  deviation = np.sqrt(2 / (9 * kernel.shape[-1]))
  np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.1)


@pytest.mark.parametrize(
  "name, stem, blocks", [("resnet34", "conv7", 16), ("resnet101", "deep", 33)]
)
def test_layers_hold_all_parameters_in_order(name, stem, blocks):
  options = resnet.Options(stem=stem, width=4)
  layers = resnet.list_layers(name, options)
  assert len(layers) == 1 + blocks
  assert layers[1:3] == (("layer1_0",), ("layer1_1",))
  assert layers[-1] == ("layer4_2",)
  encoder = resnet.create(name, options, dtype=jnp.float32, remat=False)
  params = _shapes(encoder)["params"]
  assert {n for layer in layers for n in layer} == set(params)
