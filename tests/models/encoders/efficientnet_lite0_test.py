"""EfficientNet-Lite0 against PyTorch operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.models import torch_names
from u2pl_jax.models.encoders import efficientnet_lite0
from u2pl_jax.ops import normalize

# (kernel size, channels, stride) of each block, (dilation, and whether the
# stride stays) at output strides 32, 16 and 8.
BLOCKS = (
  [(3, 16, 1), (3, 24, 2), (3, 24, 1), (5, 40, 2), (5, 40, 1)]
  + [(3, 80, 2), (3, 80, 1), (3, 80, 1)]
  + [(5, 112, 1), (5, 112, 1), (5, 112, 1)]
  + [(5, 192, 2), (5, 192, 1), (5, 192, 1), (5, 192, 1), (3, 320, 1)]
)
DILATIONS = {
  32: [1] * 16,
  16: [1] * 12 + [2] * 4,
  8: [1] * 6 + [2] * 6 + [4] * 4,
}
# Blocks whose stride becomes dilation.
UNSTRIDED = {32: (), 16: (11,), 8: (5, 11)}


def _variable_shapes():
  encoder = efficientnet_lite0.EfficientNetLite0()
  return jax.eval_shape(
    lambda key: encoder.init(key, jnp.zeros((1, 33, 33, 3)), train=False),
    jax.random.key(0),
  )


def _random_variables():
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    if len(leaf.shape) == 4:
      fan_in = np.prod(leaf.shape[:3])
      values = rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)
    elif path[-1].key in ("scale", "var"):
      values = rng.uniform(0.5, 1.5, leaf.shape)
    else:
      values = rng.normal(size=leaf.shape) * 0.3
    return values.astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, _variable_shapes())


def _to_torch(variables):
  """PyTorch names in the weights file -> arrays."""
  state = torch_names.to_torch(
    {kind: {"encoder": tree} for kind, tree in variables.items()}
  )
  return {name.removeprefix("encoder."): a for name, a in state.items()}


def _images(height, width, batch=2):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (batch, height, width, 3), np.uint8)


def _normalize(images):
  return normalize.normalize(
    images, efficientnet_lite0.MEAN_RGB, efficientnet_lite0.STD_RGB
  )


def _run(variables, images, output_stride=32):
  encoder = efficientnet_lite0.EfficientNetLite0(output_stride)
  return jax.jit(lambda v, x: encoder.apply(v, _normalize(x), train=False))(
    variables, images
  )


def _oracle(state, images, output_stride):
  """The features [B, h, w, C], from PyTorch's functions and 0..255 RGB."""
  torch = pytest.importorskip("torch")
  functional = torch.nn.functional
  state = {name: torch.tensor(value) for name, value in state.items()}

  def conv(x, name, stride=1, dilation=1):
    kernel = state[f"{name}.weight"]
    pads = []
    for side in (x.shape[3], x.shape[2]):
      window = (kernel.shape[-1] - 1) * dilation + 1
      total = max((-(-side // stride) - 1) * stride + window - side, 0)
      pads += [total // 2, total - total // 2]
    x = functional.pad(x, pads)
    groups = x.shape[1] // kernel.shape[1]
    return functional.conv2d(
      x, kernel, stride=stride, dilation=dilation, groups=groups
    )

  def norm(x, name):
    entries = ("running_mean", "running_var", "weight", "bias")
    arguments = (state[f"{name}.{entry}"] for entry in entries)
    return functional.batch_norm(x, *arguments, eps=1e-3)

  x = (torch.tensor(images).permute(0, 3, 1, 2).float() - 127) / 128
  x = functional.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
  outputs = []
  for i, (size, channels, stride) in enumerate(BLOCKS):
    stride = 1 if i in UNSTRIDED[output_stride] else stride
    dilation = DILATIONS[output_stride][i]
    name, y = f"_blocks.{i}", x
    if i:
      y = functional.relu6(
        norm(conv(y, f"{name}._expand_conv"), f"{name}._bn0")
      )
    y = conv(y, f"{name}._depthwise_conv", stride, dilation)
    y = conv(functional.relu6(norm(y, f"{name}._bn1")), f"{name}._project_conv")
    y = norm(y, f"{name}._bn2")
    assert state[f"{name}._depthwise_conv.weight"].shape[-1] == size
    x = x + y if stride == 1 and x.shape[1] == channels else y
    outputs.append(x.permute(0, 2, 3, 1).numpy())
  return [outputs[i] for i in (2, 4, 10, 15)]


@pytest.mark.parametrize(
  "output_stride,height,width", [(32, 65, 50), (16, 64, 49), (8, 65, 50)]
)
def test_features_equal_pytorchs(output_stride, height, width):
  variables, images = _random_variables(), _images(height, width)
  expected = _oracle(_to_torch(variables), images, output_stride)
  actual = _run(variables, images, output_stride)
  for layer, (a, b) in enumerate(zip(actual, expected, strict=True)):
    stride = min(4 * 2**layer, output_stride)
    channels = (24, 40, 112, 320)[layer]
    assert a.shape == (2, -(-height // stride), -(-width // stride), channels)
    assert np.abs(b).max() > 0.1
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_dilation_keeps_the_strided_networks_values():
  variables, images = _random_variables(), _images(65, 33)
  strided, dilated = (_run(variables, images, stride) for stride in (32, 8))
  for layer, step in ((2, 2), (3, 4)):
    np.testing.assert_allclose(
      dilated[layer][:, ::step, ::step], strided[layer], rtol=1e-4, atol=1e-4
    )


def test_training_updates_every_statistic():
  encoder, variables = (
    efficientnet_lite0.EfficientNetLite0(16),
    _random_variables(),
  )
  features, updates = jax.jit(
    lambda v, x: encoder.apply(
      v, _normalize(x), train=True, mutable=["batch_stats"]
    )
  )(variables, _images(33, 33))
  assert all(np.all(np.isfinite(feature)) for feature in features)
  moved = jax.tree.map(
    lambda a, b: np.all(np.isfinite(a)) and np.any(a != b),
    updates["batch_stats"],
    variables["batch_stats"],
  )
  assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
  "channels,stride,has_residual",
  [(8, 1, True), (8, 2, False), (6, 1, False)],
)
def test_residual_needs_stride_1_and_equal_channels(
  channels, stride, has_residual
):
  block = efficientnet_lite0.Block(channels, 3, 6, stride, 2, jnp.float32)
  x = np.random.default_rng(0).normal(size=(2, 7, 7, 8)).astype(np.float32)
  variables = block.init(jax.random.key(0), x, train=False)

  @jax.jit
  def run(params):
    return block.apply(
      variables | {"params": params},
      x,
      train=True,
      mutable=["batch_stats"],
    )[0]

  weights = np.random.default_rng(1).normal(size=run(variables["params"]).shape)
  gradients = jax.grad(lambda p: jnp.sum(run(p) * weights))(variables["params"])
  for gradient in jax.tree.leaves(gradients):
    assert np.all(np.isfinite(gradient)) and np.any(gradient)
  silent = jax.tree.map(jnp.copy, variables["params"])
  silent["project_bn"]["scale"] *= 0
  y = run(silent)
  np.testing.assert_array_equal(y, x if has_residual else jnp.zeros_like(y))


def test_encoder_has_the_published_size():
  shapes = _variable_shapes()["params"]
  # Lite0's 4,652,008 without its 1x1 head, that one's norm, and the classes.
  head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert count == 4_652_008 - head
  assert "expand_conv" not in shapes["block0"]


def test_features_have_the_compute_dtype():
  encoder = efficientnet_lite0.EfficientNetLite0(dtype=jnp.bfloat16)
  features = jax.eval_shape(
    lambda v: encoder.apply(v, jnp.zeros((1, 33, 33, 3)), train=False),
    _variable_shapes(),
  )
  assert {feature.dtype for feature in features} == {jnp.dtype("bfloat16")}


def test_layers_hold_all_parameters_in_order():
  options = efficientnet_lite0.Options()
  layers = efficientnet_lite0.list_layers("efficientnet_lite0", options)
  assert layers[:2] == (("stem_conv", "stem_bn"), ("block0",))
  assert len(layers) == 1 + len(BLOCKS)
  assert {n for layer in layers for n in layer} == set(
    _variable_shapes()["params"]
  )


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_strides_are_told(output_stride):
  options = efficientnet_lite0.Options(output_stride=output_stride)
  encoder = efficientnet_lite0.create(
    "efficientnet_lite0", options, dtype=jnp.float32, remat=False
  )
  features = jax.eval_shape(
    lambda v: encoder.apply(v, jnp.zeros((1, 64, 64, 3)), train=False),
    _variable_shapes(),
  )
  strides = tuple(64 // feature.shape[1] for feature in features)
  assert encoder.strides == strides
