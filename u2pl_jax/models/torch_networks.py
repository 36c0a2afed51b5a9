"""Recognises the network that a PyTorch state dict belongs to.

What a state dict does not tell, strides, dilations and dropout, changes no
variable, and is left as `deeplab.create_model` has it.
"""

import dataclasses
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.models.decoders import deeplab
from u2pl_jax.models.encoders import resnet

PARTS = ("encoder", "decoder", "auxor")
# What ImageNet files hold beside the encoder.
_RESNET_CLASSIFIER = ("fc.",)
_EFFICIENTNET_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


def canonicalize(
  state_dict: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
  """Names the entries of a foreign state dict as the published code does.

  Knows whole networks of the published code (as saved by its main branch and
  by its branch with_AEL, which name them alike), with or without the "module."
  that data-parallel training puts in front of each name; and ImageNet
  classifiers without any prefix: ResNets with the deep stem (`conv1.0`) or
  torchvision's 7x7 stem (`conv1`), and EfficientNet-Lite0.

  Args:
    state_dict: PyTorch name -> anything.

  Returns:
    The same values under names that begin with "encoder.", "decoder." or
    "auxor."; and the names of the ImageNet classifier's entries, left out.
  """
  entries = dict(state_dict)
  if all(name.startswith("module.") for name in entries):
    entries = {n.removeprefix("module."): v for n, v in entries.items()}
  if any(name.partition(".")[0] in PARTS for name in entries):
    return entries, []
  is_efficientnet = any(name.startswith("_blocks.") for name in entries)
  classifier = (
    _EFFICIENTNET_CLASSIFIER if is_efficientnet else _RESNET_CLASSIFIER
  )
  dropped = [name for name in entries if name.startswith(classifier)]
  for name in dropped:
    del entries[name]
  return {f"encoder.{name}": v for name, v in entries.items()}, dropped


def is_whole(names: Iterable[str]) -> bool:
  """Whether canonical names go beyond the encoder."""
  return any(name.startswith(("decoder.", "auxor.")) for name in names)


def select_parts(
  variables: Mapping[str, Any], parts: Sequence[str]
) -> dict[str, Any]:
  """{"params", "batch_stats"} of some parts ("encoder", ...) of a network."""
  return {
    collection: {part: tree[part] for part in parts if part in tree}
    for collection, tree in variables.items()
  }


@dataclasses.dataclass(frozen=True)
class Network:
  """A network, as far as a state dict tells.

  Attributes:
    options: for `deeplab.create_model`.
    is_whole: False for an encoder alone; decoder options are then missing.
  """

  options: Mapping[str, Any]
  is_whole: bool

  def __str__(self) -> str:
    """One line: encoder, stem, width, classes and heads."""
    words = [self.options["encoder"], f"{self.options['stem']} stem"]
    if "width" in self.options:
      words.append(f"width {self.options['width']}")
    if not self.is_whole:
      return ", ".join(words + ["encoder alone"])
    words.append(f"{self.options['num_classes']} classes")
    if self.options["rep_channels"]:
      words.append("representation head")
    if self.options["aux_head"]:
      words.append("auxiliary head")
    return ", ".join(words)

  def variable_shapes(self) -> dict[str, Any]:
    """{"params", "batch_stats"} of `jax.ShapeDtypeStruct`s; runs nothing."""
    model = deeplab.create_model(**{"num_classes": 2} | dict(self.options))
    shapes = jax.eval_shape(
      lambda: model.init(
        jax.random.key(0), jnp.zeros((1, 33, 33, 3)), train=False, dropout=False
      )
    )
    return shapes if self.is_whole else select_parts(shapes, ("encoder",))


def recognize(state_dict: Mapping[str, Any]) -> Network:
  """Finds the network of a state dict by its names and shapes.

  Single faulty entries are outvoted by the others, so that they can then be
  told by `torch_import.find_problems`.

  Args:
    state_dict: canonical name -> array.

  Raises:
    ValueError: there is no encoder in it, or none that is known here.
  """
  shapes = {name: np.shape(value) for name, value in state_dict.items()}
  whole = is_whole(shapes)
  if any(name.startswith("encoder._blocks.") for name in shapes):
    options = dict(
      encoder="efficientnet_lite0",
      stem="conv3",
      output_stride=32,
      multi_grid=False,
    )
  else:
    options = _resnet_options(shapes)
  if whole:
    options |= _decoder_options(shapes)
  return Network(options, whole)


def _resnet_options(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
  blocks, widths, has_bottlenecks = [0] * 4, [], False
  for name, shape in shapes.items():
    match = re.match(r"encoder\.layer([1-4])\.(\d+)\.(.*)", name)
    if match:
      layer, index, entry = int(match[1]) - 1, int(match[2]), match[3]
      blocks[layer] = max(blocks[layer], index + 1)
      has_bottlenecks |= entry == "conv3.weight"
      if entry.startswith("bn1.") and len(shape) == 1:
        widths.append(shape[0] // 2**layer)
  if not widths:
    raise ValueError(
      "neither a ResNet nor an EfficientNet-Lite0; its entries are "
      + (", ".join(sorted(shapes)[:5]) + ", ..." if shapes else "none")
    )
  for depth, plan in resnet.DEPTHS.items():
    if plan == (tuple(blocks), has_bottlenecks):
      is_deep = any(re.match(r"encoder\.conv1\.\d", name) for name in shapes)
      return dict(
        encoder=f"resnet{depth}",
        stem="deep" if is_deep else "conv7",
        width=statistics.mode(widths),
      )
  kind = "bottleneck" if has_bottlenecks else "basic"
  raise ValueError(
    f"a ResNet of {blocks} {kind} blocks; known depths: "
    + ", ".join(map(str, resnet.DEPTHS))
  )


def _decoder_options(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
  def vote(pattern: str) -> int:
    """Most frequent first dimension of the entries; 0 without any."""
    sizes = [
      shape[0]
      for name, shape in shapes.items()
      if shape and re.fullmatch(pattern, name)
    ]
    return statistics.mode(sizes) if sizes else 0

  branches = [
    int(match[1])
    for name in shapes
    if (match := re.match(r"decoder\.aspp\.conv(\d+)\.", name))
  ]
  return dict(
    num_classes=vote(r"(decoder\.classifier\.8|auxor\.aux\.4)\.\w+"),
    decoder_channels=vote(r"decoder\.(aspp\.conv\d|head)\.1\.\w+"),
    low_level_channels=vote(r"decoder\.low_conv\.\d\.\w+"),
    rep_channels=vote(r"decoder\.representation\.8\.\w+"),
    aux_head=any(name.startswith("auxor.") for name in shapes),
    # The first two branches are not dilated.
    aspp_rates=(1,) * (max(branches, default=2) - 2),
  )
