"""Writes a trained network for use elsewhere.

  python -m u2pl_jax.tools.export --workdir=DIR --out=net.stablehlo
  python -m u2pl_jax.tools.export --workdir=DIR --format=folder --out=FOLDER

Supported formats:

  stablehlo    a program of its own, from uint8 RGB to masks, that runs
               wherever JAX does; net.json beside it describes it
  folder       what others share: config.json, model.safetensors and a model
               card, README.md; the tools of this project take it as a network
  safetensors  the weights, with all that the tools of this project need
  torch        a checkpoint of the published PyTorch code, .pth

docs/deployment.md explains how to use them.
"""

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from etils import epath

from data_prep import convert_torch_resnet
from u2pl_jax.evaluation import outputs
from u2pl_jax.models import forward
from u2pl_jax.ops import normalize
from u2pl_jax.predict import trained
from u2pl_jax.runtime import command_line, workdir
from u2pl_jax.tools import model_card, network_arguments

PLATFORMS = ("cpu", "cuda", "tpu")
MIN_SIDE = 16  # Pixels, as of the crops in training.
FREE = "free"  # For --size: the program takes images of any size.
_ENDINGS = {
  "stablehlo": ".stablehlo",
  "folder": "",
  "safetensors": ".safetensors",
  "torch": ".pth",
}
_LICENSE = "unknown"

Size = tuple[int, int] | str  # (height, width) in pixels, or FREE.
# uint8 [B, H, W, 3] to {"mask": uint8 [B, H, W], "confidence": float32}.
Predict = Callable[[jax.Array], dict[str, jax.Array]]


def main(argv: Sequence[str] | None = None) -> int:
  """Writes the file that the command line asks for; returns 0.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  with command_line.one_line_errors():
    out = _check_out(arguments.out, arguments.format)
    size = parse_size(arguments.size)
    _check_together(arguments)
    network = network_arguments.load(arguments)
    print(f"{network.origin}: {network.num_classes} classes")
    if arguments.format == "stablehlo":
      _write_stablehlo(network, size or network.window, out)
    elif arguments.format == "folder":
      _write_folder(network, arguments, out)
    elif arguments.format == "safetensors":
      trained.save_safetensors(network, out)
      print(f"wrote {out}")
    else:
      convert_torch_resnet.save(network.variables, out, state=network.state)
  return 0


def _check_together(arguments: argparse.Namespace) -> None:
  """Raises ValueError that names a flag that does not go with the format."""
  if arguments.size is not None and arguments.format != "stablehlo":
    raise ValueError("--size goes with --format=stablehlo only")
  if arguments.format == "folder" and arguments.workdir is None:
    raise ValueError(
      "--format=folder needs --workdir=DIR of a run, whose data, method and"
      " scores README.md tells"
    )
  if arguments.license is not None and arguments.format != "folder":
    raise ValueError("--license goes with --format=folder only")


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
  """What an exported program computes, see `export_program`."""
  model = network.model
  net = forward.make_net(model, network.variables)

  def predict(images):
    logits = net(model.normalize(images))
    found = outputs.compute(logits, ("labels", "probability"))
    return {"mask": found["labels"], "confidence": found["probability"]}

  return predict


def export_program(network: trained.Trained, size: Size) -> jax.export.Exported:
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
    ValueError: the size is free, and the network resizes its own parameters to
      the images; one line.
  """
  model = network.model
  if size == FREE:
    if model.multiple > 1:
      raise ValueError(
        f"--size={FREE}: this network takes images whose sides are multiples of"
        f" {model.multiple}, and fits its position embedding to them; give"
        " --size=HEIGHT,WIDTH"
      )
    limits = [f"{side} >= {MIN_SIDE}" for side in ("height", "width")]
    shape = jax.export.symbolic_shape(
      "batch, height, width", constraints=limits
    )
  else:
    shape = (*jax.export.symbolic_shape("batch"), *size)
  images = jax.ShapeDtypeStruct((*shape, 3), jnp.uint8)
  predict = jax.jit(make_predict(network))
  return jax.export.export(predict, platforms=PLATFORMS)(images)


def describe(
  network: trained.Trained, exported: jax.export.Exported
) -> dict[str, Any]:
  """What a user of an exported program has to know, as JSON values."""

  def array(aval, meaning):
    # A side is a number, or the name of one that is free.
    shape = [n if isinstance(n, int) else str(n) for n in aval.shape]
    return {"dtype": aval.dtype.name, "shape": shape, "meaning": meaning}

  (images,) = exported.in_avals
  results = jax.tree.unflatten(exported.out_tree, exported.out_avals)
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
    "platforms": exported.platforms,
    "versions": {
      "jax": jax.__version__,
      "calling_convention": exported.calling_convention_version,
    },
  }


def _write_stablehlo(
  network: trained.Trained, size: Size, out: epath.Path
) -> None:
  exported = export_program(network, size)
  description = out.with_suffix(".json")
  workdir.write_bytes(out, exported.serialize())
  workdir.write_json(description, describe(network, exported))
  seen = "any size" if size == FREE else f"{size[0]}x{size[1]} pixels"
  print(f"wrote {out}, {description}; images of {seen}")


def _write_folder(
  network: trained.Trained, arguments: argparse.Namespace, out: epath.Path
) -> None:
  card = model_card.write(
    network,
    arguments.workdir,
    name=out.name,
    license_id=arguments.license or _LICENSE,
    is_watched=arguments.state is None,
  )
  # Where the run lies is nobody's business.
  run = epath.Path(arguments.workdir).resolve().name
  origin = f"{run}, {model_card.describe_source(network)}"
  trained.save_folder(dataclasses.replace(network, origin=origin), out, card)
  print(f"wrote {out}; its README.md tells what it is")


def _check_out(path: str, file_format: str) -> epath.Path:
  out, ending = epath.Path(path), _ENDINGS[file_format]
  if ending and out.suffix != ending:
    raise ValueError(f"--out={out}: --format={file_format} writes {ending}")
  if not out.parent.is_dir():
    raise FileNotFoundError(f"--out={out}: there is no folder {out.parent}")
  return out


def _make_parser() -> argparse.ArgumentParser:
  parser = command_line.make_parser("u2pl_jax.tools.export", __doc__)
  network_arguments.add_arguments(parser)
  parser.add_argument(
    "--format",
    choices=tuple(_ENDINGS),
    default="stablehlo",
    help="what to write; default: stablehlo",
  )
  parser.add_argument(
    "--out",
    required=True,
    metavar="FILE|FOLDER",
    help="what to write: a folder, or a file that ends with .stablehlo,"
    " .safetensors or .pth",
  )
  parser.add_argument(
    "--size",
    metavar="HEIGHT,WIDTH|free",
    help="size in pixels of the images that a program takes, or free for any"
    " with --format=stablehlo; default: the window that training evaluated at",
  )
  parser.add_argument(
    "--license",
    metavar="ID",
    help="license of the weights that the card of --format=folder names, such"
    f" as apache-2.0; default: {_LICENSE}",
  )
  return parser


if __name__ == "__main__":
  sys.exit(main())
