"""Decoders, each a module that nothing else names.

A module is a family of decoders if it has these:

  NAMES    what `model.decoder` may be to mean it.
  Options  options class of the section "decoder".
  create(name, options, *, num_classes, strides, dtype)
           -> (nn.Module, auxiliary head or None), for an encoder whose
           features have these strides.

The `nn.Module` is called with the encoder's features, `train` and `dropout`.
It returns float32 arrays, `logits` [B, h, w, K] and, unless its attribute
`rep_channels` is 0, `rep` [B, h', w', D]. Its attribute `reads` are the indices
of the features that it reads, such as (0, -1). The auxiliary head is an
`nn.Module` too: it maps the last feature but one to logits.

It may have this:

  IDLE  paths within the decoder of parameters, or beginnings of them, that no
        output depends on, but that its files have: the optimizer leaves them
        alone.

Where there are weights of it in PyTorch's format, also these:

  TORCH_RULES    (pattern, replacement) pairs, from the path of a module,
                 "decoder/head/conv" or "auxor/output", to PyTorch's name.
  TORCH_SIGN     a pattern that some entry of each of its files starts with.
  TORCH_OPTIONAL  heads that a network may lack, by PyTorch's name.
  TORCH_ENCODER  options of the encoder in its files, {name: value}, where
                 these are others than the defaults and no file tells them;
                 may be missing.
  TORCH_FILE     how files of whole networks with it call things, where it is
                 not "encoder.", "decoder.", "auxor.", "teacher_state" and
                 "model_state": {"encoder": "backbone.", "decoder": "head.",
                 "teacher": "model_ema", "student": "model"}. The rules, signs
                 and shapes here have "encoder." and "decoder." all the same.
  recognize(shapes)  -> (name, options that the file tells, options that it
                 can not tell and that no published network sets, number of
                 classes), of entries {PyTorch's name: shape}.
"""

import types

from u2pl_jax.runtime import by_name


def torch_modules() -> tuple[types.ModuleType, ...]:
  """Those of this package that know weights in PyTorch's format."""
  return by_name.torch_modules(__name__)


def names() -> tuple[str, ...]:
  """All decoders of this package."""
  return by_name.names(__name__)


def find(name: str) -> types.ModuleType:
  """The module of a decoder; see `by_name.find`.

  Raises:
    ValueError: there is none; one line with the names there are.
  """
  return by_name.find(__name__, "model.decoder", name)
