"""A trained network with all that is needed to use it, from a run or a file.

Neither data nor config file are needed. Files are

  NAME.safetensors  written by u2pl_jax.tools.export; describes itself
  NAME.npz          written by data_prep.convert_torch_resnet, such as
                    published checkpoints
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import linen as nn
from flax import traverse_util

from u2pl_jax.data import palettes
from u2pl_jax.models import pretrained
from u2pl_jax.models.decoders import deeplab
from u2pl_jax.runtime import checkpoint
from u2pl_jax.runtime import workdir as workdir_lib

_ABOUT = "u2pl_jax"  # Key of our description in a .safetensors file.
_WINDOW = (513, 513)  # Of files that do not tell.


@dataclasses.dataclass(frozen=True)
class Trained:
  """A trained network.

  Attributes:
    options: keyword arguments of `deeplab.create_model`.
    variables: {"params", "batch_stats"}, nested dicts of float32 arrays.
    class_names: [K].
    palette: [K] RGB colours in [0, 255].
    window: (height, width) in pixels that it was evaluated at in training.
    origin: where it comes from, in some words.
    state: "teacher" or "student"; "teacher" of files that do not tell.
  """

  options: Mapping[str, Any]
  variables: Mapping[str, Any]
  class_names: tuple[str, ...]
  palette: tuple[tuple[int, int, int], ...]
  window: tuple[int, int]
  origin: str
  state: str = "teacher"

  @property
  def model(self) -> nn.Module:
    """Built anew each time; equal ones share compiled programs."""
    return deeplab.create_model(**self.options)

  @property
  def num_classes(self) -> int:
    """K."""
    return len(self.class_names)


def load_run(
  workdir: epath.PathLike, which: str = "best", state: str | None = None
) -> Trained:
  """The network of a run's checkpoint.

  Args:
    workdir: of the run.
    which: "best" or "last" checkpoint.
    state: "teacher" or "student"; None for the teacher where there is one.

  Raises:
    OSError: there is no such run or checkpoint; one line.
    ValueError: a file is damaged, the run has no teacher, or checkpoint and
      config are not of one network; one line.
  """
  workdir = epath.Path(workdir)
  config = workdir_lib.read_config(workdir)
  classes = workdir_lib.read_classes(workdir)
  step, chosen, variables = checkpoint.restore_network(
    workdir / "checkpoints", which, state
  )
  options = {k: v for k, v in config["model"].items() if k != "pretrained"}
  about = classes | {
    "options": options | {"num_classes": len(classes["names"])},
    "window": config["eval"]["crop_size"],
    "state": chosen,
  }
  return _build(about, variables, f"{workdir}, {chosen} of step {step}")


def load_file(path: epath.PathLike) -> Trained:
  """The network in a file; see the top of this module.

  Raises:
    OSError: there is no such file.
    ValueError: it is damaged, or not of a whole network; one line.
  """
  path = epath.Path(path)
  if path.suffix == ".npz":
    return _load_npz(path)
  if path.suffix == ".safetensors":
    return _load_safetensors(path)
  raise ValueError(
    f"{path}: expected a .safetensors file of u2pl_jax.tools.export or an .npz"
    " file of data_prep.convert_torch_resnet; for a run use --workdir"
  )


def _load_npz(path: epath.Path) -> Trained:
  options, variables = pretrained.load_network(path)
  names, palette = palettes.guess_classes(options["num_classes"])
  return Trained(
    options=options,
    variables=variables,
    class_names=names,
    palette=palette,
    window=_WINDOW,
    origin=str(path),
  )


def _load_safetensors(path: epath.Path) -> Trained:
  import safetensors

  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file")
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      about = json.loads((file.metadata() or {}).get(_ABOUT, "null"))
      leaves = {name: file.get_tensor(name) for name in file.keys()}
  except (safetensors.SafetensorError, ValueError) as error:
    raise ValueError(f"{path}: damaged .safetensors file ({error})") from error
  if about is None:
    raise ValueError(f"{path}: was not written by u2pl_jax.tools.export")
  variables = traverse_util.unflatten_dict(leaves, sep="/")
  return _build(about, variables, str(path))


def save_safetensors(network: Trained, path: epath.PathLike) -> None:
  """Writes a file that `load_file` reads.

  Arrays have names like params/encoder/layer1_0/conv1/kernel; the rest stands
  in the file's metadata, as JSON under "u2pl_jax".

  Raises:
    OSError: it cannot be written.
  """
  import safetensors.numpy

  about = {
    "options": dict(network.options),
    "names": network.class_names,
    "palette": network.palette,
    "window": network.window,
    "state": network.state,
    "origin": network.origin,
  }
  leaves = traverse_util.flatten_dict(network.variables, sep="/")
  content = safetensors.numpy.save(
    {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()},
    {_ABOUT: json.dumps(about)},
  )
  workdir_lib.write_bytes(epath.Path(path), content)


def _build(
  about: Mapping[str, Any], variables: Mapping[str, Any], origin: str
) -> Trained:
  """A network of a description and variables, which must go together."""
  try:
    network = Trained(
      options=about["options"],
      variables=variables,
      class_names=tuple(about["names"]),
      palette=tuple(map(tuple, about["palette"])),
      window=tuple(about["window"]),
      origin=origin,
      state=about["state"],
    )
    model = network.model
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"{origin}: the description of its network is faulty ({error!r})"
    ) from error
  _check_same_shapes(variables, _shapes_of(model), origin)
  return network


def _shapes_of(model: nn.Module) -> Mapping[str, Any]:
  images = jnp.zeros((1, 33, 33, 3))
  return jax.eval_shape(
    lambda: model.init(jax.random.key(0), images, train=False, dropout=False)
  )


def _check_same_shapes(
  held: Mapping[str, Any], wanted: Mapping[str, Any], origin: str
) -> None:
  """Raises ValueError that names the first variable that differs."""

  def shapes(tree):
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {name: np.shape(leaf) for name, leaf in flat.items()}

  held, wanted = shapes(held), shapes(wanted)
  for name in sorted(held.keys() | wanted.keys()):
    if held.get(name) != wanted.get(name):
      raise ValueError(
        f"{origin}: holds another network than it says; {name} is"
        f" {held.get(name, 'missing')}, expected {wanted.get(name, 'none')}"
      )
