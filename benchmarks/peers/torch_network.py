"""ResNet with DeepLabv3+ in PyTorch, module by module as published.

The state dict has the published names, so weights convert by
`u2pl_jax.models.torch_names`. Norms span one device.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_BLOCKS = {
  18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)
}  # fmt: skip
_EXPANSION = 4
_MULTI_GRID = (2, 2, 4)


def create(config: Mapping[str, Any], num_classes: int) -> "Network":
  """The network that a config describes.

  Args:
    config: nested, with the sections model, encoder and decoder.
    num_classes: K.

  Raises:
    ValueError: the config has another network; one line.
  """
  names = config["model"]["encoder"], config["model"]["decoder"]
  depth = re.fullmatch(r"resnet(\d+)", names[0])
  if not depth or int(depth[1]) not in _BLOCKS or names[1] != "deeplab":
    raise ValueError(
      f"--peer: the peer has no network of {' and '.join(names)}; it has"
      " ResNets with deeplab"
    )
  return Network(
    Encoder(int(depth[1]), **config["encoder"]), num_classes, config["decoder"]
  )


def _conv(
  inputs: int,
  outputs: int,
  side: int = 3,
  *,
  stride: int = 1,
  dilation: int = 1,
  bias: bool = False,
) -> nn.Conv2d:
  return nn.Conv2d(
    inputs,
    outputs,
    side,
    stride,
    padding=dilation * (side // 2),
    dilation=dilation,
    bias=bias,
  )


class _Block(nn.Module):
  """A residual block: two 3x3 convs, or 1x1, 3x3 and 1x1."""

  def __init__(self, inputs, outputs, stride, dilations, has_bottleneck):
    super().__init__()
    self.has_bottleneck = has_bottleneck
    if has_bottleneck:
      inner = outputs // _EXPANSION
      self.conv1 = _conv(inputs, inner, 1)
      self.conv2 = _conv(inner, inner, stride=stride, dilation=dilations[0])
      self.conv3 = _conv(inner, outputs, 1)
      self.bn3 = nn.BatchNorm2d(outputs)
    else:
      inner = outputs
      self.conv1 = _conv(inputs, inner, stride=stride, dilation=dilations[0])
      self.conv2 = _conv(inner, inner, dilation=dilations[1])
    self.bn1, self.bn2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)
    self.relu = nn.ReLU(inplace=True)
    self.downsample = None
    if stride != 1 or inputs != outputs:
      self.downsample = nn.Sequential(
        _conv(inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs)
      )

  def forward(self, x):
    shortcut = x if self.downsample is None else self.downsample(x)
    y = self.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    if self.has_bottleneck:
      y = self.bn3(self.conv3(self.relu(y)))
    return self.relu(y + shortcut)


class Encoder(nn.Module):
  """Features of layers 1-4."""

  def __init__(
    self,
    depth: int,
    *,
    stem: str,
    width: int,
    output_stride: int,
    multi_grid: bool,
    pool_ceil: bool,
  ):
    super().__init__()
    has_bottleneck = depth > 34
    if stem == "deep":
      self.conv1 = nn.Sequential(
        _conv(3, width, stride=2),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _conv(width, width),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _conv(width, 2 * width),
      )
      channels = 2 * width
    else:
      self.conv1, channels = _conv(3, width, 7, stride=2), width
    self.bn1 = nn.BatchNorm2d(channels)
    self.relu = nn.ReLU(inplace=True)
    self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=pool_ceil)
    self.widths, dilation = [], 1  # Channels of each feature.
    for layer, count in enumerate(_BLOCKS[depth]):
      first_dilation, stride = dilation, 1 if layer == 0 else 2
      if layer and 4 * 2 ** (layer - 1) >= output_stride:
        dilation, stride = 2 * dilation, 1
      outputs = width * 2**layer * (_EXPANSION if has_bottleneck else 1)
      blocks = []
      for index in range(count):
        grid = _MULTI_GRID[index] if multi_grid and layer == 3 else 1
        leading = dilation if index else first_dilation
        blocks.append(
          _Block(
            channels,
            outputs,
            1 if index else stride,
            (leading * grid, dilation * grid),
            has_bottleneck,
          )
        )
        channels = outputs
      setattr(self, f"layer{layer + 1}", nn.Sequential(*blocks))
      self.widths.append(outputs)

  def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
    x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
    features = []
    for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
      x = layer(x)
      features.append(x)
    return features


class _ASPP(nn.Module):
  def __init__(self, inputs: int, channels: int, rates: Sequence[int]):
    super().__init__()

    def branch(side, dilation=1):
      return (
        _conv(inputs, channels, side, dilation=dilation),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
      )

    self.conv1 = nn.Sequential(nn.AdaptiveAvgPool2d(1), *branch(1))
    self.conv2 = nn.Sequential(*branch(1))
    for index, rate in enumerate(rates, start=3):
      setattr(self, f"conv{index}", nn.Sequential(*branch(3, rate)))
    self.num_branches = 2 + len(rates)

  def forward(self, x):
    branches = [
      getattr(self, f"conv{index}")(x)
      for index in range(1, self.num_branches + 1)
    ]
    branches[0] = resize(branches[0], x.shape[2:])
    return torch.cat(branches, dim=1)


def _head(inputs, channels, outputs, num_convs, dropout):
  layers = []
  for index in range(num_convs):
    layers += [
      _conv(inputs if index == 0 else channels, channels, bias=True),
      nn.BatchNorm2d(channels),
      nn.ReLU(inplace=True),
      nn.Dropout2d(dropout),
    ]
  return nn.Sequential(*layers, _conv(channels, outputs, 1, bias=True))


class _Decoder(nn.Module):
  def __init__(self, widths, num_classes, options):
    super().__init__()
    channels, low = options["channels"], options["low_level_channels"]
    dropout = options["dropout_rate"]
    self.low_conv = nn.Sequential(
      _conv(widths[0], low, 1, bias=True),
      nn.BatchNorm2d(low),
      nn.ReLU(inplace=True),
    )
    rates = options["aspp_rates"]
    self.aspp = _ASPP(widths[-1], channels, rates)
    self.head = nn.Sequential(
      _conv((2 + len(rates)) * channels, channels),
      nn.BatchNorm2d(channels),
      nn.ReLU(inplace=True),
      nn.Dropout2d(dropout),
    )
    fused = low + channels
    self.classifier = _head(fused, channels, num_classes, 2, dropout)
    self.representation = None
    if options["rep_channels"]:
      self.representation = _head(
        fused, channels, options["rep_channels"], 2, dropout
      )

  def forward(self, features):
    low = self.low_conv(features[0])
    x = resize(self.head(self.aspp(features[-1])), low.shape[2:])
    x = torch.cat([low, x], dim=1)
    outputs = {"pred": self.classifier(x)}
    if self.representation is not None:
      outputs["rep"] = self.representation(x)
    return outputs


class _Auxiliary(nn.Module):
  def __init__(self, inputs, num_classes, options):
    super().__init__()
    self.aux = _head(
      inputs, options["channels"], num_classes, 1, options["dropout_rate"]
    )

  def forward(self, x):
    return self.aux(x)


class Network(nn.Module):
  """Encoder, decoder and, where there is one, the auxiliary head.

  Maps float images [B, 3, H, W] to float32 pred [B, K, h, w] and, where they
  exist, rep [B, D, h, w] and aux [B, K, h3, w3]. As published, all heads are
  computed whoever calls.
  """

  def __init__(
    self, encoder: Encoder, num_classes: int, options: Mapping[str, Any]
  ):
    super().__init__()
    self.encoder = encoder
    self.decoder = _Decoder(encoder.widths, num_classes, options)
    self.auxor = None
    if options["aux_head"]:
      self.auxor = _Auxiliary(encoder.widths[-2], num_classes, options)

  def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
    features = self.encoder(images)
    outputs = self.decoder(features)
    if self.auxor is not None:
      outputs["aux"] = self.auxor(features[-2])
    return {name: output.float() for name, output in outputs.items()}


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
  """Bilinear, corners aligned."""
  return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)
