"""Recognizes the network that a PyTorch state dict belongs to.

Each encoder and each decoder knows its own files, see `models.encoders`. What
a state dict does not tell, strides, dilations and dropout, changes no variable;
it is left at its default, or at what the decoder says of its published files.
"""

import dataclasses
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from u2pl_jax.models import decoders, encoders
from u2pl_jax.models import network as network_lib

PARTS = ("encoder", "decoder", "auxor")  # Of a `network.Network`.


def canonicalize(
  state_dict: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
  """Names the entries of a foreign state dict as the published code does.

  Knows whole networks of the published code (as saved by its main branch and
  by its branch with_AEL, which name them alike), with or without the "module."
  that data-parallel training puts in front of each name; and ImageNet
  classifiers without any prefix, of every encoder that has TORCH_RULES.

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
  module = _find_owner(encoders.torch_modules(), entries)
  classifier = module.TORCH_CLASSIFIER if module else ()
  dropped = [name for name in entries if name.startswith(classifier)]
  for name in dropped:
    del entries[name]
  return {f"encoder.{name}": v for name, v in entries.items()}, dropped


def _find_owner(
  modules: Sequence[types.ModuleType], names: Iterable[str]
) -> types.ModuleType | None:
  """The encoder or decoder that a file is of; None if none knows it."""
  names = tuple(names)
  for module in modules:
    if any(re.match(module.TORCH_SIGN, name) for name in names):
      return module
  return None


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
class Recognized:
  """A network, as far as a state dict tells.

  Attributes:
    sections: `model`, `encoder` and `decoder`, for `network.create`.
    num_classes: K; 2 for an encoder alone.
    is_whole: False for an encoder alone; its decoder is the default one.
    told: keys that the state dict tells, such as "encoder.stem".
    guessed: keys that it does not tell, and that no published network sets.
  """

  sections: network_lib.Sections
  num_classes: int
  is_whole: bool
  told: tuple[str, ...]
  guessed: tuple[str, ...]

  def __str__(self) -> str:
    """One line: encoder, decoder and number of classes."""
    encoder = self._describe("encoder")
    if not self.is_whole:
      return f"{encoder}, encoder alone"
    return f"{encoder}, {self._describe('decoder')}, {self.num_classes} classes"

  def _describe(self, part: str) -> str:
    values = [
      f"{key}={value}"
      for key, value in self.sections[part].items()
      if f"{part}.{key}" in self.told
    ]
    name = self.sections["model"][part]
    return f"{name} ({', '.join(values)})" if values else name

  def variable_shapes(self) -> dict[str, Any]:
    """{"params", "batch_stats"} of `jax.ShapeDtypeStruct`s; runs nothing."""
    network = network_lib.create(self.sections, self.num_classes)
    shapes = network.variable_shapes()
    return shapes if self.is_whole else select_parts(shapes, ("encoder",))


def recognize(state_dict: Mapping[str, Any]) -> Recognized:
  """Finds the network of a state dict by its names and shapes.

  Single faulty entries are outvoted by the others, so that they can then be
  told by `torch_names.find_problems`.

  Args:
    state_dict: canonical name -> array.

  Raises:
    ValueError: there is no encoder or decoder in it that is known here.
  """
  shapes = {name: np.shape(value) for name, value in state_dict.items()}
  within = {
    name.removeprefix("encoder."): shape
    for name, shape in shapes.items()
    if name.startswith("encoder.")
  }
  module = _find_owner(encoders.torch_modules(), within)
  if module is None:
    raise _unknown("encoder", encoders.names(), shapes)
  encoder, options, untold = module.recognize(within)
  told = {"encoder": options}
  guessed = tuple(f"encoder.{key}" for key in untold)
  if not is_whole(shapes):
    return _fill(network_lib.sections(encoder), told, guessed, 2, False)
  module = _find_owner(decoders.torch_modules(), shapes)
  if module is None:
    raise _unknown("decoder", decoders.names(), shapes)
  decoder, options, untold, num_classes = module.recognize(shapes)
  told["decoder"] = options
  guessed += tuple(f"decoder.{key}" for key in untold)
  sections = network_lib.sections(encoder, decoder)
  published = getattr(module, "TORCH_ENCODER", {})
  sections["encoder"] |= {
    key: value for key, value in published.items() if key in sections["encoder"]
  }
  return _fill(sections, told, guessed, num_classes, True)


def _fill(
  sections: network_lib.Sections,
  told: Mapping[str, Mapping[str, Any]],
  guessed: tuple[str, ...],
  num_classes: int,
  whole: bool,
) -> Recognized:
  """Defaults and what a state dict tells, as a network."""
  return Recognized(
    sections={
      name: {**section, **told.get(name, {})}
      for name, section in sections.items()
    },
    num_classes=num_classes,
    is_whole=whole,
    told=tuple(f"{part}.{key}" for part, keys in told.items() for key in keys),
    guessed=guessed,
  )


def _unknown(
  part: str, known: Sequence[str], names: Iterable[str]
) -> ValueError:
  listed = sorted(names)[:5]
  return ValueError(
    f"holds no known {part} ({', '.join(known)}); its entries are "
    + (", ".join(listed) + ", ..." if listed else "none")
  )
