"""What an exported program computes, and that program as StableHLO."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from u2pl_jax.evaluation import outputs
from u2pl_jax.models import forward
from u2pl_jax.ops import normalize
from u2pl_jax.predict import trained

PLATFORMS = ("cpu", "cuda", "tpu")
MIN_SIDE = 16  # Pixels, as of the crops in training.
FREE = "free"  # For --size: the program takes images of any size.

Size = tuple[int, int] | str  # (height, width) in pixels, or FREE.
# uint8 [B, H, W, 3] to {"mask": uint8 [B, H, W], "confidence": float32}.
Predict = Callable[[jax.Array], dict[str, jax.Array]]


def parse_size(text: str | None) -> Size | None:
  """Reads --size=HEIGHT,WIDTH or --size=free; None for None.

  Raises:
    ValueError: the text is something else, or a side is below `MIN_SIDE`.
  """
  if text in (None, FREE):
    return text
  match = re.fullmatch(r"(\d+),(\d+)", text)
  if match is None or min(map(int, match.groups())) < MIN_SIDE:
    raise ValueError(
      f"--size={text}: must be HEIGHT,WIDTH in pixels, each at least"
      f" {MIN_SIDE}, e.g. --size=513,513, or {FREE}"
    )
  return int(match[1]), int(match[2])


def make_predict(network: trained.Trained) -> Predict:
  """What an exported program computes, see `to_stablehlo`."""
  model = network.model
  net = forward.make_net(model, network.variables)

  def predict(images):
    logits = net(model.normalize(images))
    found = outputs.compute(logits, ("labels", "probability"))
    return {"mask": found["labels"], "confidence": found["probability"]}

  return predict


def make_images(network: trained.Trained, size: Size) -> jax.ShapeDtypeStruct:
  """Shape and dtype of the images of a program, with symbols for what is free.

  Args:
    network: that sees them.
    size: of the images.

  Raises:
    ValueError: the size is free, and the network resizes its own parameters to
      the images; one line.
  """
  if size == FREE:
    if network.model.multiple > 1:
      raise ValueError(
        f"--size={FREE}: this network takes images whose sides are multiples of"
        f" {network.model.multiple}, and fits its position embedding to them;"
        " give --size=HEIGHT,WIDTH"
      )
    limits = [f"{side} >= {MIN_SIDE}" for side in ("height", "width")]
    shape = jax.export.symbolic_shape(
      "batch, height, width", constraints=limits
    )
  else:
    shape = (*jax.export.symbolic_shape("batch"), *size)
  return jax.ShapeDtypeStruct((*shape, 3), jnp.uint8)


def to_stablehlo(network: trained.Trained, size: Size) -> jax.export.Exported:
  """The network as a program of its own, for `PLATFORMS`.

  Args:
    network: its weights become constants of the program.
    size: of the images.

  Returns:
    A function of images, uint8 RGB [B, H, W, 3] for any B, and for any H and W
    from `MIN_SIDE` on if the size is free. It returns `mask`, uint8 [B, H, W],
    the most probable class of each pixel, and `confidence`, float32 [B, H, W]
    in (0, 1], the prob of that class.

  Raises:
    ValueError: see `make_images`.
  """
  predict = jax.jit(make_predict(network))
  images = make_images(network, size)
  return jax.export.export(predict, platforms=PLATFORMS)(images)


def describe(
  network: trained.Trained, images: Any, results: Mapping[str, Any]
) -> dict[str, Any]:
  """What a user of an exported program has to know, as JSON values.

  Args:
    network: in the program.
    images: shape and dtype of its argument.
    results: the same of "mask" and "confidence".
  """

  def array(aval, meaning):
    # A side is a number, or the name of one that is free.
    shape = [n if isinstance(n, int) else str(n) for n in aval.shape]
    return {"dtype": aval.dtype.name, "shape": shape, "meaning": meaning}

  return {
    "origin": network.origin,
    "input": array(images, "RGB images, not normalized")
    | {"pad_color": normalize.MEAN_COLOR},
    "outputs": {
      "mask": array(results["mask"], "most probable class of each pixel"),
      "confidence": array(results["confidence"], "probability of that class"),
    },
    "class_names": network.class_names,
    "palette": network.palette,
  }


def describe_stablehlo(
  network: trained.Trained, exported: jax.export.Exported
) -> dict[str, Any]:
  """As `describe`, and where the program runs."""
  (images,) = exported.in_avals
  results = jax.tree.unflatten(exported.out_tree, exported.out_avals)
  return describe(network, images, results) | {
    "platforms": exported.platforms,
    "versions": {
      "jax": jax.__version__,
      "calling_convention": exported.calling_convention_version,
    },
  }
