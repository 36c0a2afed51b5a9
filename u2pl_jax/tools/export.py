"""Writes a trained network for use elsewhere.

  python -m u2pl_jax.tools.export --workdir=DIR --out=net.stablehlo
  python -m u2pl_jax.tools.export --workdir=DIR --format=folder --out=FOLDER

Supported formats:

  stablehlo    a program of its own, from uint8 RGB to masks, that runs
               wherever JAX does; net.json beside it describes it
  onnx         the same program for ONNX Runtime and other readers of ONNX;
               net.json beside it describes it
  folder       what others share: config.json, model.safetensors and a model
               card, README.md; the tools of this project take it as a network
  safetensors  the weights, with all that the tools of this project need
  torch        a checkpoint of the published PyTorch code, .pth

docs/deployment.md explains how to use them.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from data_prep import convert_torch_resnet
from u2pl_jax.predict import trained
from u2pl_jax.runtime import command_line, workdir
from u2pl_jax.tools import (
  export_onnx,
  export_program,
  model_card,
  network_arguments,
)

_ENDINGS = {
  "stablehlo": ".stablehlo",
  "onnx": ".onnx",
  "folder": "",
  "safetensors": ".safetensors",
  "torch": ".pth",
}
_PROGRAMS = ("stablehlo", "onnx")  # The formats that --size goes with.
_LICENSE = "unknown"


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
    size = export_program.parse_size(arguments.size)
    _check_together(arguments)
    if arguments.format == "onnx":
      export_onnx.load_packages()  # Before the network, which takes longer.
    network = network_arguments.load(arguments)
    print(f"{network.origin}: {network.num_classes} classes")
    if arguments.format == "stablehlo":
      _write_stablehlo(network, size or network.window, out)
    elif arguments.format == "onnx":
      _write_onnx(network, size or network.window, out)
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
  if arguments.size is not None and arguments.format not in _PROGRAMS:
    raise ValueError("--size goes with --format=stablehlo and =onnx only")
  if arguments.size == export_program.FREE and arguments.format == "onnx":
    raise ValueError(
      f"--size={arguments.size} goes with --format=stablehlo only; give"
      " --size=HEIGHT,WIDTH"
    )
  if arguments.format == "folder" and arguments.workdir is None:
    raise ValueError(
      "--format=folder needs --workdir=DIR of a run, whose data, method and"
      " scores README.md tells"
    )
  if arguments.license is not None and arguments.format != "folder":
    raise ValueError("--license goes with --format=folder only")


def _write_stablehlo(
  network: trained.Trained, size: export_program.Size, out: epath.Path
) -> None:
  exported = export_program.to_stablehlo(network, size)
  about = export_program.describe_stablehlo(network, exported)
  is_free = size == export_program.FREE
  seen = "any size" if is_free else f"{size[0]}x{size[1]} pixels"
  _write_program(out, exported.serialize(), about, f"images of {seen}")


def _write_onnx(
  network: trained.Trained, size: tuple[int, int], out: epath.Path
) -> None:
  converted = export_onnx.convert(network, size)
  difference = export_onnx.check(network, size, converted.content)
  note = (
    f"images of {size[0]}x{size[1]} pixels; ONNX Runtime's probabilities differ"
    f" by {difference:.1g} at most"
  )
  _write_program(out, converted.content, converted.about, note)


def _write_program(
  out: epath.Path, content: bytes, about: Mapping[str, Any], note: str
) -> None:
  """Writes a program, and what there is to know about it beside it."""
  description = out.with_suffix(".json")
  workdir.write_bytes(out, content)
  workdir.write_json(description, about)
  print(f"wrote {out}, {description}; {note}")


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
    help="what to write: a folder, or a file that ends with .stablehlo, .onnx,"
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
