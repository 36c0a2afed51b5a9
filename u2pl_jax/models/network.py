"""The network of student and teacher: an encoder and a decoder, by name."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import decoders, encoders
from u2pl_jax.ops import normalize
from u2pl_jax.runtime import options as options_lib

Sections = Mapping[str, Mapping[str, Any]]
# Factors [B, C_i] of the channels of each feature; None for 1.
Scales = tuple[jax.Array | None, ...]

DTYPES = ("float32", "bfloat16")
REMATS = ("none", "blocks")
FREEZES = ("none", "encoder")
# Sides of the images that variables are made with, rounded up to a multiple;
# they enter no variable.
_MIN_SIDE = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(options_lib.Options):
  """Which encoder and decoder; each has a section for its own options."""

  SECTION: ClassVar[str] = "model"

  encoder: str = "resnet101"  # A name that `encoders.names()` gives.
  decoder: str = "deeplab"  # A name that `decoders.names()` gives.
  # What the student starts from: a file of data_prep.convert_torch_resnet, a
  # folder or .safetensors file of u2pl_jax.tools.export, or the workdir of a
  # run, whose best checkpoint it then is.
  pretrained: str = ""
  # Of the computation; parameters, statistics and outputs are float32 always.
  dtype: str = options_lib.setting("float32", choices=DTYPES)
  # What is computed again in the backward pass, to save memory: the encoder's
  # blocks, of which only the input is kept.
  remat: str = options_lib.setting("none", choices=REMATS)
  # The part that is left as it began, by a file of weights: it then has no
  # gradient, no state in the optimizer, and no copy in a teacher.
  freeze: str = options_lib.setting("none", choices=FREEZES)


def _scale(
  features: Sequence[jax.Array], scales: Scales | None
) -> list[jax.Array]:
  """Features [B, h, w, C_i], each channel of an image times its factor."""
  return [
    feature
    if scale is None
    else feature * scale[:, None, None].astype(feature.dtype)
    for feature, scale in zip(
      features, scales or [None] * len(features), strict=True
    )
  ]


class Network(nn.Module):
  """An encoder and a decoder; made by `create`.

  Attributes:
    encoder: see `models.encoders`.
    decoder: see `models.decoders`.
    auxor: auxiliary head on the last feature but one; None for none.
    num_classes: K.
    mean_rgb, std_rgb: of the images that the encoder wants, in 0..255.
    multiple: the sides of images must be multiples of it.
    frozen: names of the parts that are not trained.
    idle: paths, or beginnings of them, of parameters that no output depends on.

  Reference: U2PL u2pl/models/model_helper.py, `ModelBuilder`.
  """

  encoder: nn.Module
  decoder: nn.Module
  auxor: nn.Module | None
  num_classes: int
  mean_rgb: tuple[float, float, float]
  std_rgb: tuple[float, float, float]
  multiple: int
  frozen: tuple[str, ...] = ()
  idle: tuple[str, ...] = ()

  @property
  def rep_channels(self) -> int:
    """D, width of the representation; 0 where there is none."""
    return self.decoder.rep_channels

  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool,
    dropout: bool,
    feature_scales: Scales | None = None,
    perturbed_scales: Scales | None = None,
  ) -> dict[str, jax.Array]:
    """Runs the network.

    Args:
      images: float [B, H, W, 3], of `normalize`.
      train: use batch statistics, and record them in the collection
        "batch_stats", which must then be mutable.
      dropout: drop channels with the rng stream "dropout".
      feature_scales: float32 [B, C_i] or None for each feature, by which its
        channels are multiplied before the decoder.
      perturbed_scales: as `feature_scales`, for copies that the decoder sees in
        one batch with the features, whose statistics they share.

    Returns:
      float32 arrays: `logits` [B, h, w, K] (raw), at the size of the first
      feature; `rep` [B, h, w, D], unless `rep_channels` is 0; `aux`
      [B, h3, w3, K] (raw) at the size of the last feature but one, where there
      is an auxiliary head; `perturbed` [B, h, w, K], the logits of the copies,
      where there are any.

    Raises:
      ValueError: if `images` are not [B, H, W, 3].
    """
    if images.ndim != 4 or images.shape[-1] != 3:
      raise ValueError(f"images must be [B, H, W, 3], got {images.shape}")
    features = self.encode(images, train=train)
    read = _scale(features, feature_scales)
    if perturbed_scales is not None:
      copies = _scale(features, perturbed_scales)
      read = [jnp.concatenate(pair) for pair in zip(read, copies, strict=True)]
    outputs = self.decoder(read, train=train, dropout=dropout)
    if perturbed_scales is not None:
      outputs, copies = (
        {name: array[half] for name, array in outputs.items()}
        for half in (slice(len(images)), slice(len(images), None))
      )
      outputs["perturbed"] = copies["logits"]
    if self.auxor is not None:
      outputs["aux"] = self.auxor(features[-2], train=train, dropout=dropout)
    return outputs

  def encode(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
    """The encoder's features alone, [B, h, w, C_i], see `models.encoders`.

    A frozen encoder is in eval mode always, and what it returns is a constant.
    """
    if "encoder" in self.frozen:
      return jax.lax.stop_gradient(self.encoder(images, train=False))
    return self.encoder(images, train=train)

  @nn.nowrap
  def normalize(self, images: jax.Array) -> jax.Array:
    """uint8 RGB [..., 3] to float32, as the encoder wants it."""
    return normalize.normalize(images, self.mean_rgb, self.std_rgb)

  @nn.nowrap
  def denormalize(self, images: jax.Array) -> jax.Array:
    """The uint8 RGB [..., 3] nearest to what `images` were made of."""
    return normalize.denormalize(images, self.mean_rgb, self.std_rgb)

  @nn.nowrap
  def _blank(self) -> jax.Array:
    """One small image, to make variables with."""
    side = -(-_MIN_SIDE // self.multiple) * self.multiple
    return jnp.zeros((1, side, side, 3))

  @nn.nowrap
  def init_variables(self, key: jax.Array) -> dict[str, Any]:
    """Draws the variables.

    Args:
      key: PRNG key.

    Returns:
      {"params", "batch_stats"}, nested dicts of float32 arrays; `batch_stats`
      is {} where no part has statistics.
    """
    variables = self.init(key, self._blank(), train=False, dropout=False)
    return {"batch_stats": {}} | dict(variables)

  @nn.nowrap
  def feature_widths(self) -> tuple[int | None, ...]:
    """Channels of each feature; None for those that the decoder never reads."""
    encode = functools.partial(self.apply, train=False, method=Network.encode)
    features = jax.eval_shape(encode, self.variable_shapes(), self._blank())
    reads = {range(len(features))[index] for index in self.decoder.reads}
    return tuple(
      feature.shape[-1] if index in reads else None
      for index, feature in enumerate(features)
    )

  @nn.nowrap
  def variable_shapes(self) -> dict[str, Any]:
    """As `init_variables`, but `jax.ShapeDtypeStruct`s; computes nothing."""
    return jax.eval_shape(self.init_variables, jax.random.key(0))


def sections(
  encoder: str = "resnet101", decoder: str = "deeplab"
) -> dict[str, dict[str, Any]]:
  """The defaults of the config's sections `model`, `encoder`, `decoder`.

  Raises:
    ValueError: there is no such encoder or decoder; one line.
  """
  names = {"encoder": encoder, "decoder": decoder}
  return {
    "model": ModelOptions.defaults() | names,
    "encoder": encoders.find(encoder).Options.defaults(),
    "decoder": decoders.find(decoder).Options.defaults(),
  }


def create(config: Sections, num_classes: int) -> Network:
  """Builds the network that a config describes.

  Args:
    config: holds the sections of `sections`, maybe read from JSON; others are
      ignored.
    num_classes: K, from 2 to 255 (label 255 means ignore).

  Raises:
    ValueError: names the key that is unknown, missing or out of range.
  """
  if not 2 <= num_classes <= 255:
    raise ValueError(f"num_classes={num_classes}: must be in [2, 255]")
  model = ModelOptions.read(config)
  dtype = jnp.dtype(model.dtype)
  encoder_module = encoders.find(model.encoder)
  decoder_module = decoders.find(model.decoder)
  encoder = encoder_module.create(
    model.encoder,
    _read("encoder", model.encoder, encoder_module, config),
    dtype=dtype,
    remat=model.remat == "blocks",
  )
  decoder, auxor = decoder_module.create(
    model.decoder,
    _read("decoder", model.decoder, decoder_module, config),
    num_classes=num_classes,
    strides=encoder.strides,
    dtype=dtype,
  )
  return Network(
    encoder=encoder,
    decoder=decoder,
    auxor=auxor,
    num_classes=num_classes,
    mean_rgb=encoder_module.MEAN_RGB,
    std_rgb=encoder_module.STD_RGB,
    multiple=encoder_module.MULTIPLE,
    frozen=() if model.freeze == "none" else (model.freeze,),
    idle=_idle("encoder", encoder_module) + _idle("decoder", decoder_module),
  )


def _idle(part: str, module: Any) -> tuple[str, ...]:
  """The paths that a part's module names, within the network."""
  return tuple(f"{part}/{path}" for path in getattr(module, "IDLE", ()))


def _read(
  section: str, name: str, module: Any, config: Sections
) -> options_lib.Options:
  """Options of a part; an error tells which one it is."""
  try:
    return module.Options.read(config)
  except ValueError as error:
    raise ValueError(f"{error}, with model.{section}={name!r}") from error
