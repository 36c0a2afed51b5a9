"""Converts network weights from PyTorch files to .npz, and runs back again.

  python -m data_prep.convert_torch_resnet IN.pth OUT.npz
  python -m data_prep.convert_torch_resnet --workdir=RUN OUT.pth

IN.pth is an ImageNet classifier (ResNet-18/34/50/101 with the deep stem or
torchvision's, EfficientNet-Lite0; the classifier itself is dropped) or a
checkpoint of the published code: its teacher, or its student where it has no
teacher or with --state=student. Of a checkpoint of U2PL with AEL the
confidences of the classes are kept too and, with --unlabeled=LIST, which images
show which class. OUT.npz is for `model.pretrained`; it holds
float32 arrays under the names of the published code.

The other way, RUN is a --workdir of main.py; no dataset is needed. OUT.pth
holds {"teacher_state": STATE_DICT} or, of a student, {"model_state": ...},
which the published code loads strictly where it has the same network.

Needs PyTorch 2.6 or later (pip install torch). Files are read with
`weights_only=True`: code in them is refused, never run.
"""

import argparse
import io
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from data_prep import published_banks
from u2pl_jax.models import torch_names, torch_networks
from u2pl_jax.predict import trained
from u2pl_jax.runtime import command_line, interrupt
from u2pl_jax.runtime import workdir as workdir_lib

# The published code saves the best mIoU as a numpy scalar. Only the weights
# count here, so that whatever is numpy's is skipped instead of trusted.
_NUMPY_NAMES = ("numpy.dtype", "numpy.ndarray") + tuple(
  f"numpy.{core}.multiarray.{function}"
  for core in ("core", "_core")
  for function in ("scalar", "_reconstruct")
)


class _Skipped:
  """Takes the place of numpy objects in a PyTorch file."""

  def __init__(self, *args: Any):
    del args

  def __setstate__(self, state: Any):
    del state


def _import_torch() -> Any:
  try:
    import torch
  except ImportError as error:
    raise ImportError(
      "PyTorch is not installed; it is needed for this conversion only:"
      " pip install torch"
    ) from error
  if torch.__version__ < "2.6":
    raise ImportError(
      f"PyTorch {torch.__version__} is too old to read files of others safely;"
      ' 2.6 is needed: pip install "torch>=2.6"'
    )
  return torch


def convert(
  source: str | pathlib.Path,
  target: str | pathlib.Path,
  *,
  state: str | None = None,
  encoder_only: bool = False,
  unlabeled: str | None = None,
  list_seed: int = 1,
) -> None:
  """Converts a PyTorch file to the .npz file `target`.

  Args:
    source: PyTorch file.
    target: replaced if it exists, once all is checked.
    state: "teacher" or "student" of a checkpoint; None for the teacher where
      there is one.
    encoder_only: leave decoder and heads out.
    unlabeled, list_seed: see `published_banks.read_banks`.

  Raises:
    ImportError: there is no PyTorch, or an old one.
    OSError: a file is missing or cannot be written.
    ValueError: the file is damaged, its network unknown, or the entries do
      not make up that network; the message names them.
  """
  source, target = pathlib.Path(source), pathlib.Path(target)
  if target.suffix != ".npz":
    raise ValueError(f"{target}: the name must end with .npz")
  content = _load(source)
  label, state_dict = _pick_state(source, content, state)
  entries, dropped = torch_networks.canonicalize(state_dict)
  if encoder_only:
    entries = {n: v for n, v in entries.items() if n.startswith("encoder.")}
  arrays = _to_arrays(source, entries)
  network = _check(source, arrays)
  banks = published_banks.read_banks(content, unlabeled, list_seed)
  written = io.BytesIO()
  np.savez(written, **arrays, **banks)
  workdir_lib.write_bytes(epath.Path(target), written.getvalue())
  print(f"{source}: {label}{network}; {_count(arrays)}")
  if banks:
    print(f"kept the state of the classes: {', '.join(banks)}")
  if dropped:
    print(f"dropped the ImageNet classifier: {', '.join(dropped)}")
  print(f"wrote {target}")


def _load(path: pathlib.Path) -> Any:
  """What a PyTorch or safetensors file holds; runs no code in it."""
  torch = _import_torch()
  if path.suffix == ".safetensors":
    return _load_safetensors(path)
  skipped = [(_Skipped, name) for name in _NUMPY_NAMES]
  with path.open("rb") as file:
    try:
      with torch.serialization.safe_globals(skipped):
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # Damaged files raise almost anything.
      refused = re.search(r"GLOBAL (\S+)", str(error))
      reason = "damaged, or not a PyTorch file of weights"
      if refused:
        reason = f"refused, as it holds {refused[1]} beside weights"
      raise ValueError(f"{path}: {reason}") from error


def _load_safetensors(path: pathlib.Path) -> dict[str, Any]:
  import safetensors.torch

  try:
    return safetensors.torch.load(path.read_bytes())
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path}: damaged .safetensors file ({error})") from error


def _pick_state(
  path: pathlib.Path, content: Any, state: str | None
) -> tuple[str, Mapping[str, Any]]:
  """Returns how to call the state dict of a file, and the state dict."""
  if not isinstance(content, Mapping) or not content:
    raise ValueError(f"{path}: holds no state dict")
  keys = {
    network: key
    for key, network in torch_networks.state_keys().items()
    if key in content
  }
  if not keys:
    if state:
      raise ValueError(
        f"{path}: a plain state dict, without teacher or student; omit --state"
      )
    label, state_dict = "", content
  else:
    if state and state not in keys:
      raise ValueError(f"{path}: holds no {state}, only {', '.join(keys)}")
    chosen = state or next(iter(keys))
    label, state_dict = f"{chosen}, ", content[keys[chosen]]
  if not isinstance(state_dict, Mapping) or not all(
    isinstance(name, str) for name in state_dict
  ):
    raise ValueError(f"{path}: holds no state dict of named tensors")
  return label, state_dict


def _to_arrays(
  path: pathlib.Path, entries: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Tensors to numpy; floats of any width to float32."""
  torch = _import_torch()
  strange = [n for n, v in entries.items() if not isinstance(v, torch.Tensor)]
  if strange:
    problems = [f"no tensor: {name}" for name in strange]
    raise ValueError(f"{path}: " + torch_names.summarize(problems))
  return {
    name: (
      value.detach().float() if value.is_floating_point() else value
    ).numpy()
    for name, value in entries.items()
  }


def _check(
  path: pathlib.Path, arrays: Mapping[str, np.ndarray]
) -> torch_networks.Recognized:
  """Recognizes the network and checks every name, shape and value."""
  try:
    network = torch_networks.recognize(arrays)
    shapes = network.variable_shapes()
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  problems = torch_names.find_problems(arrays, shapes)
  if problems:
    raise ValueError(
      f"{path}: faulty as {network}; " + torch_names.summarize(problems)
    )
  return network


def _count(arrays: Mapping[str, np.ndarray]) -> str:
  buffers = ("running_mean", "running_var", "num_batches_tracked")
  parameters = sum(
    value.size for name, value in arrays.items() if not name.endswith(buffers)
  )
  return f"{len(arrays)} entries, {parameters / 1e6:.2f} M parameters"


def export(
  workdir: str | pathlib.Path,
  target: str | pathlib.Path,
  *,
  which: str = "best",
  state: str | None = None,
) -> None:
  """Writes the network of a run as a PyTorch checkpoint.

  Args:
    workdir: of the run.
    target: replaced if it exists.
    which: "best" or "last" checkpoint.
    state: "teacher" or "student"; None for the teacher where there is one.

  Raises:
    ImportError: there is no PyTorch, or an old one.
    OSError: there is no such run or checkpoint, or `target` cannot be written.
    ValueError: the run has no teacher, but `state` asks for it, or it is
      damaged.
  """
  network = trained.load_run(workdir, which, state)
  print(network.origin)
  save(network.variables, target, state=network.state)


def save(
  variables: Mapping[str, Any], target: str | pathlib.Path, *, state: str
) -> None:
  """Writes a network as a PyTorch checkpoint.

  Args:
    variables: {"params", "batch_stats"}, nested dictionaries of arrays.
    target: replaced if it exists.
    state: "teacher" or "student", which the checkpoint calls it.

  Raises:
    ImportError: there is no PyTorch, or an old one.
    OSError: `target` cannot be written.
    ValueError: its name does not end with .pth or .pt.
  """
  torch, target = _import_torch(), pathlib.Path(target)
  if target.suffix not in (".pth", ".pt"):
    raise ValueError(f"{target}: the name must end with .pth")
  arrays = torch_names.to_torch(variables)
  # Restored arrays may be read-only, which PyTorch's views would ignore.
  published, called = torch_networks.as_published(arrays)
  tensors = {n: torch.from_numpy(v.copy()) for n, v in published.items()}
  content = io.BytesIO()
  torch.save({called[state]: tensors}, content)
  workdir_lib.write_bytes(epath.Path(target), content.getvalue())
  print(f"{torch_networks.recognize(arrays)}; {_count(arrays)}")
  print(f"wrote {target}")


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = command_line.make_parser("data_prep.convert_torch_resnet", __doc__)
  parser.usage = "%(prog)s IN.pth OUT.npz | --workdir=RUN OUT.pth [options]"
  parser.add_argument(
    "files", nargs="+", metavar="FILE", help="IN.pth and OUT.npz, or OUT.pth"
  )
  parser.add_argument("--workdir", help="a run to write as a PyTorch file")
  parser.add_argument(
    "--checkpoint",
    choices=("best", "last"),
    help="which one of the run; best unless given",
  )
  parser.add_argument(
    "--state",
    choices=("teacher", "student"),
    help="which of both networks; the teacher, where there is one",
  )
  parser.add_argument(
    "--encoder_only",
    action="store_true",
    help="leave out decoder and heads, to train on other classes",
  )
  parser.add_argument(
    "--unlabeled",
    metavar="LIST",
    help="the unlabeled list of a checkpoint of AEL, for its bank of images",
  )
  parser.add_argument(
    "--list_seed",
    type=int,
    default=1,
    help="with which that list was shuffled; 1 unless given",
  )
  args = parser.parse_args(argv)
  if args.workdir is None and (len(args.files) != 2 or args.checkpoint):
    parser.error("give IN.pth and OUT.npz; --checkpoint is for --workdir")
  if args.workdir is not None and (len(args.files) != 1 or args.encoder_only):
    parser.error("give OUT.pth beside --workdir, without --encoder_only")
  return args


def main(argv: Sequence[str] | None = None) -> int:
  args = _parse_args(argv)
  logging.set_verbosity(logging.ERROR)  # Orbax notes what is as it should be.
  try:
    with interrupt.ending():
      if args.workdir is None:
        convert(
          *args.files,
          state=args.state,
          encoder_only=args.encoder_only,
          unlabeled=args.unlabeled,
          list_seed=args.list_seed,
        )
      else:
        which = args.checkpoint or "best"
        export(args.workdir, *args.files, which=which, state=args.state)
  except (ValueError, OSError, ImportError) as error:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
