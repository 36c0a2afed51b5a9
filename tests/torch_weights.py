"""Small networks' variables, and the same as PyTorch state dicts."""

import functools

import jax
import numpy as np

from tests import networks
from u2pl_jax.models import torch_names

SMALL = dict(
  num_classes=3,
  channels=4,
  low_level_channels=5,
  rep_channels=6,
  aux_head=True,
)
RESNETS = [
  dict(encoder=f"resnet{depth}", stem=stem, width=4)
  for depth in (18, 34, 50, 101)
  for stem in ("deep", "conv7")
]
LITE0 = dict(encoder="efficientnet_lite0", output_stride=16)
NETWORKS = [*RESNETS, LITE0]


def name(options):
  """Names a case of a parameterized test."""
  return "-".join([options["encoder"], options.get("stem", "")])


@functools.cache
def _shapes(items):
  return networks.make(**dict(items)).variable_shapes()


def shapes(**options):
  """Shapes of a network's variables; ResNet-18 unless told."""
  if not options.get("encoder", "resnet18").startswith("eff"):
    options = dict(encoder="resnet18", width=4) | options
  options = SMALL | options
  return _shapes(tuple(sorted(options.items())))


def random(shapes, seed=0):
  """Draws arrays of given shapes and dtypes, with some special values."""
  rng = np.random.default_rng(seed)

  def draw(leaf):
    values = rng.normal(size=leaf.shape).astype(leaf.dtype)
    # A negative zero and a denormal number survive only exact copies.
    values.flat[:2] = np.array([-0.0, 1e-42], leaf.dtype)[: values.size]
    return values

  return jax.tree.map(draw, shapes)


def state_dict(seed=0, **options):
  """A network's random state dict of numpy arrays, as published."""
  return torch_names.to_torch(random(shapes(**options), seed))


def imagenet(seed=0, **options):
  """An encoder with its classifier, named as ImageNet files do."""
  entries = {
    name.removeprefix("encoder."): value
    for name, value in state_dict(seed, **options).items()
    if name.startswith("encoder.")
  }
  if options.get("encoder") == LITE0["encoder"]:
    extra = ("_conv_head.weight", "_bn1.weight", "_bn1.bias", "_fc.bias")
  else:
    extra = ("fc.weight", "fc.bias")
  return entries | {name: np.ones(3, np.float32) for name in extra}


def assert_same(actual, expected):
  """All leaves are the same, bit for bit."""
  jax.tree.map(
    lambda a, e: np.testing.assert_array_equal(
      np.asarray(a).view(np.uint32), np.asarray(e).view(np.uint32)
    ),
    actual,
    expected,
  )


def encoder_of(variables):
  return {key: {"encoder": tree["encoder"]} for key, tree in variables.items()}
