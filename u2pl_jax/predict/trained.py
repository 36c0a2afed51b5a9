"""A trained network with all that is needed to use it, from a run or a file.

Neither data nor config file are needed. Files are

  NAME.safetensors  written by u2pl_jax.tools.export; describes itself
  FOLDER            the same with --format=folder, as others share networks
  NAME.npz          written by data_prep.convert_torch_resnet, such as
                    published checkpoints
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from etils import epath

from u2pl_jax.data import palettes
from u2pl_jax.models import network as network_lib
from u2pl_jax.models import pretrained, saved_networks
from u2pl_jax.runtime import checkpoint
from u2pl_jax.runtime import workdir as workdir_lib

_SECTIONS = ("model", "encoder", "decoder")  # Of a config.
_WINDOW = (513, 513)  # Of files that do not tell.


@dataclasses.dataclass(frozen=True)
class Trained:
  """A trained network.

  Attributes:
    options: what the network is: `num_classes`, and the config's sections
      `model`, `encoder` and `decoder`, maybe as read from JSON.
    variables: {"params", "batch_stats"}, nested dicts of float32 arrays.
    class_names: [K].
    palette: [K] RGB colors in [0, 255].
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
  def model(self) -> network_lib.Network:
    """Built anew each time; equal ones share compiled programs."""
    return network_lib.create(self.options, self.options["num_classes"])

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
    state: "teacher" or "student"; None for the one that training evaluated.

  Raises:
    OSError: there is no such run or checkpoint; one line.
    ValueError: a file is damaged or of version 0.1, the run has no teacher,
      or checkpoint and config are not of one network; one line.
  """
  workdir = epath.Path(workdir)
  config = workdir_lib.read_config(workdir)
  if "encoder" not in config:
    raise _old_version(str(workdir))
  classes = workdir_lib.read_classes(workdir)
  step, chosen, variables = checkpoint.restore_network(
    workdir / "checkpoints", which, state
  )
  about = classes | {
    "options": _describe(config, len(classes["names"])),
    "window": config["eval"]["crop_size"],
    "state": chosen,
  }
  return _build(about, variables, f"{workdir}, {chosen} of step {step}")


def _describe(
  sections: network_lib.Sections, num_classes: int
) -> dict[str, Any]:
  """`Trained.options`; what its weights started from does not matter."""
  chosen = {
    name: dict(sections[name]) for name in _SECTIONS if name in sections
  }
  if "model" in chosen:
    chosen["model"]["pretrained"] = ""
  return {"num_classes": num_classes, **chosen}


def _old_version(origin: str) -> ValueError:
  return ValueError(
    f"{origin} was made by version 0.1 of u2pl_jax, which described networks"
    " otherwise; use that version, or start anew"
  )


def load_file(path: epath.PathLike) -> Trained:
  """The network in a file or folder; see the top of this module.

  Raises:
    OSError: there is no such file.
    ValueError: it is damaged, or not of a whole network; one line.
  """
  path = epath.Path(path)
  if path.suffix == ".npz":
    return _load_npz(path)
  if saved_networks.is_saved(path):
    return _load_saved(path)
  raise ValueError(
    f"{path}: expected a .safetensors file or a folder of u2pl_jax.tools.export"
    " or an .npz file of data_prep.convert_torch_resnet; for a run use"
    " --workdir"
  )


def _load_npz(path: epath.Path) -> Trained:
  found, variables = pretrained.load_network(path)
  names, palette = palettes.guess_classes(found.num_classes)
  return Trained(
    options=_describe(found.sections, found.num_classes),
    variables=variables,
    class_names=names,
    palette=palette,
    window=_WINDOW,
    origin=str(path),
  )


def _load_saved(path: epath.Path) -> Trained:
  about, variables = saved_networks.read(path)
  options = about.get("options") if isinstance(about, dict) else None
  if isinstance(options, dict) and isinstance(options.get("encoder"), str):
    raise _old_version(str(path))
  return _build(about, variables, str(path))


def save_safetensors(network: Trained, path: epath.PathLike) -> None:
  """Writes a file that `load_file` reads; see `saved_networks`.

  Raises:
    OSError: it cannot be written.
  """
  saved_networks.write_file(path, _about(network), network.variables)


def save_folder(network: Trained, path: epath.PathLike, card: str) -> None:
  """Writes a folder that `load_file` reads; see `saved_networks`.

  Args:
    network: the network.
    path: of the folder, in one that exists.
    card: the text of its README.md.

  Raises:
    OSError: it cannot be written, or holds something else; one line.
  """
  saved_networks.write_folder(path, _about(network), network.variables, card)


def _about(network: Trained) -> dict[str, Any]:
  """What `_build` makes the network of, beside its variables."""
  return {
    "options": dict(network.options),
    "names": network.class_names,
    "palette": network.palette,
    "window": network.window,
    "state": network.state,
    "origin": network.origin,
  }


def _build(
  about: Mapping[str, Any], variables: Mapping[str, Any], origin: str
) -> Trained:
  """A network of a description and variables, which must go together."""
  variables = {"batch_stats": {}} | dict(variables)  # Not all have statistics.
  with saved_networks.naming_faults(origin):
    network = Trained(
      options=about["options"],
      variables=variables,
      class_names=tuple(about["names"]),
      palette=tuple(map(tuple, about["palette"])),
      window=tuple(about["window"]),
      origin=origin,
      state=about["state"],
    )
  saved_networks.check(network.options, network.class_names, variables, origin)
  return network
