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
# The names in files of the code whose networks are called as ours.
_PUBLISHED_FIRST = {
  **{part: f"{part}." for part in PARTS},
  "teacher": "teacher_state",
  "student": "model_state",
}


def canonicalize(
  state_dict: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
  """Names the entries of a foreign state dict as this project does.

  Knows whole networks of published code, as each decoder says what they are
  called there, with or without the "module." that data-parallel training puts
  in front of each name; and encoders alone without any prefix, of every
  encoder that has TORCH_RULES.

  Args:
    state_dict: PyTorch name -> anything.

  Returns:
    The same values under names that begin with "encoder.", "decoder." or
    "auxor."; and the names of what was pretrained beside the encoder, such as
    an ImageNet classifier, left out.
  """
  entries = dict(state_dict)
  if all(name.startswith("module.") for name in entries):
    entries = {n.removeprefix("module."): v for n, v in entries.items()}
  for module in decoders.torch_modules():
    named = {_our_name(name, module): name for name in entries}
    if any(re.match(module.TORCH_SIGN, name) for name in named):
      return {ours: entries[name] for ours, name in named.items()}, []
  if any(name.partition(".")[0] in PARTS for name in entries):
    return entries, []
  return _canonicalize_encoder(entries)


def _canonicalize_encoder(
  entries: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
  """`canonicalize` of an encoder without prefix."""
  for module in encoders.torch_modules():
    named = {name: _without_alias(name, module) for name in entries}
    if any(re.match(module.TORCH_SIGN, ours) for ours in named.values()):
      dropped = [n for n in named if n.startswith(module.TORCH_CLASSIFIER)]
      kept = {n: ours for n, ours in named.items() if n not in dropped}
      return {f"encoder.{kept[n]}": entries[n] for n in kept}, dropped
  return {f"encoder.{name}": value for name, value in entries.items()}, []


def _without_alias(name: str, encoder: types.ModuleType) -> str:
  """The name of an entry within an encoder, where files call it otherwise."""
  for pattern, replacement in getattr(encoder, "TORCH_ALIASES", ()):
    name = re.sub(rf"^{pattern}$", replacement, name)
  return name


def _called(decoder: types.ModuleType) -> Mapping[str, str]:
  """What published files of networks with a decoder call things."""
  return getattr(decoder, "TORCH_FILE", _PUBLISHED_FIRST)


def _our_name(name: str, decoder: types.ModuleType) -> str:
  called = _called(decoder)
  for part in PARTS:
    if part in called and name.startswith(called[part]):
      return f"{part}.{name.removeprefix(called[part])}"
  return name


def as_published(
  state_dict: Mapping[str, Any],
) -> tuple[dict[str, Any], Mapping[str, str]]:
  """The reverse of `canonicalize`, of a whole network.

  Args:
    state_dict: canonical name -> anything.

  Returns:
    The same values under the names of the published code that has such a
    decoder; and under what its checkpoints keep "teacher" and "student".
  """
  called = _called(_find_owner(decoders.torch_modules(), state_dict))
  renamed = {}
  for name, value in state_dict.items():
    part, _, rest = name.partition(".")
    renamed[called.get(part, f"{part}.") + rest] = value
  return renamed, called


def state_keys() -> dict[str, str]:
  """Under what checkpoints keep a network: that -> "teacher" or "student"."""
  # DINOv2's own training keeps its encoder under "teacher".
  return {"teacher": "teacher"} | {
    _called(module)[network]: network
    for network in ("teacher", "student")
    for module in decoders.torch_modules()
  }


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
