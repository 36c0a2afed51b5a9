"""Encoders, each a module that nothing else names.

A module is a family of encoders if it has these:

  NAMES         what `model.encoder` may be to mean it.
  Options       options class of the section "encoder".
  MEAN_RGB      of the images it wants, in 0..255: they are normalized to
  STD_RGB       (x - mean) / deviation.
  MULTIPLE      the sides of its images must be multiples of it.
  create(name, options, *, dtype, remat)  -> nn.Module
  list_layers(name, options)  -> tuple of tuples of names, the submodules of
                each layer: the stem, then the blocks from there on. Together
                they hold all parameters; `optim.factors` can give each of
                them a learning rate of its own.

The `nn.Module` is called with images [B, H, W, 3] and `train`. It returns a
list of features [B, h, w, C], from fine to coarse, and has `strides`, the
input pixels per pixel of each. Batch statistics are optional. In train mode it
may draw from the random stream "dropout".

It may have this:

  IDLE  paths within the encoder of parameters, or beginnings of them, that no
        feature depends on, but that its files have: the optimizer leaves them
        alone.
  GOES_WITH  {"section.key": value}, what a config has with it that chooses it
        by the word `encoder=`: the decoder and the optimizer that its weights
        are published with.

Where there are weights of it in PyTorch's format, also these:

  TORCH_RULES   (pattern, replacement) pairs, from the path of a module within
                the encoder, "block3/expand_conv", to PyTorch's name.
  TORCH_SIGN    a pattern that some entry of each of its files starts with,
                and none of another encoder's.
  TORCH_CLASSIFIER  beginnings of the entries of an ImageNet classifier, or of
                whatever else was pretrained with it.
  TORCH_ALIASES  (pattern, replacement) pairs, from a whole name that files
                without a decoder may have to PyTorch's name; may be missing.
  recognize(shapes)  -> (name, options that the file tells, options that it
                can not tell and that no published network sets), of entries
                {name within the encoder: shape}.
"""

import types

from u2pl_jax.runtime import by_name


def torch_modules() -> tuple[types.ModuleType, ...]:
  """Those of this package that know weights in PyTorch's format."""
  return by_name.torch_modules(__name__)


def names() -> tuple[str, ...]:
  """All encoders of this package."""
  return by_name.names(__name__)


def find(name: str) -> types.ModuleType:
  """The module of an encoder; see `by_name.find`.

  Raises:
    ValueError: there is none; one line with the names there are.
  """
  return by_name.find(__name__, "model.encoder", name)
