"""Writes a trained network to a file for use elsewhere.

  python -m u2pl_jax.tools.export --workdir=DIR --out=net.stablehlo
  python -m u2pl_jax.tools.export --workdir=DIR --format=torch --out=net.pth

Supported formats:

  stablehlo    a program of its own, from uint8 RGB to masks, that runs
               wherever JAX does; net.json beside it describes it
  safetensors  the weights, with all that the tools of this project need
  torch        a checkpoint of the published PyTorch code, .pth

docs/deployment.md explains how to use them.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from etils import epath

from data_prep import convert_torch_resnet
from u2pl_jax.evaluation import outputs, protocol
from u2pl_jax.ops import normalize
from u2pl_jax.predict import trained
from u2pl_jax.runtime import command_line, workdir
from u2pl_jax.tools import network_arguments

PLATFORMS = ("cpu", "cuda", "tpu")
MIN_SIDE = 16  # Pixels, as of the crops in training.
_ENDINGS = {
  "stablehlo": ".stablehlo",
  "safetensors": ".safetensors",
  "torch": ".pth",
}


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
    if size and arguments.format != "stablehlo":
      raise ValueError("--size goes with --format=stablehlo only")
    network = network_arguments.load(arguments)
    print(f"{network.origin}: {network.num_classes} classes")
    if arguments.format == "stablehlo":
      _write_stablehlo(network, size or network.window, out)
    elif arguments.format == "safetensors":
      trained.save_safetensors(network, out)
      print(f"wrote {out}")
    else:
      convert_torch_resnet.save(network.variables, out, state=network.state)
  return 0


def parse_size(text: str | None) -> tuple[int, int] | None:
  """Reads --size=HEIGHT,WIDTH; None for None.

  Raises:
    ValueError: the text is something else, or a side is below `MIN_SIDE`.
  """
  if text is None:
    return None
  match = re.fullmatch(r"(\d+),(\d+)", text)
  if match is None or min(map(int, match.groups())) < MIN_SIDE:
    raise ValueError(
      f"--size={text}: must be HEIGHT,WIDTH in pixels, each at least"
      f" {MIN_SIDE}; e.g. --size=513,513"
    )
  return int(match[1]), int(match[2])


def export_program(
  network: trained.Trained, size: tuple[int, int]
) -> jax.export.Exported:
  """The network as a program of its own, for `PLATFORMS`.

  Args:
    network: its weights become constants of the program.
    size: (height, width) of the images in pixels.

  Returns:
    A function of images, uint8 RGB [B, H, W, 3] for any B. It returns `mask`,
    uint8 [B, H, W], the most probable class of each pixel, and `confidence`,
    float32 [B, H, W] in (0, 1], the prob of that class.
  """
  whole = protocol.Protocol("whole", network.window)
  compute = outputs.make_predict(
    network.model, whole, ("labels", "probability")
  )

  def predict(images):
    found = compute(network.variables, images)
    return {"mask": found["labels"], "confidence": found["probability"]}

  (batch,) = jax.export.symbolic_shape("batch")
  images = jax.ShapeDtypeStruct((batch, *size, 3), jnp.uint8)
  return jax.export.export(jax.jit(predict), platforms=PLATFORMS)(images)


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
  network: trained.Trained, size: tuple[int, int], out: epath.Path
) -> None:
  exported = export_program(network, size)
  description = out.with_suffix(".json")
  workdir.write_bytes(out, exported.serialize())
  workdir.write_json(description, describe(network, exported))
  print(f"wrote {out}, {description}; images of {size[0]}x{size[1]} pixels")


def _check_out(path: str, file_format: str) -> epath.Path:
  out, ending = epath.Path(path), _ENDINGS[file_format]
  if out.suffix != ending:
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
    help="format of the file; default: stablehlo",
  )
  parser.add_argument(
    "--out",
    required=True,
    metavar="FILE",
    help="file to write; it ends with .stablehlo, .safetensors or .pth",
  )
  parser.add_argument(
    "--size",
    metavar="HEIGHT,WIDTH",
    help="size in pixels of the images that the program of --format=stablehlo"
    " takes; default: the window that training evaluated at",
  )
  return parser


if __name__ == "__main__":
  sys.exit(main())
