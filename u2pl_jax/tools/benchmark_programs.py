"""Programs of training and evaluation beside their peers; see `benchmark`.

Both sides stand in `benchmarks/` of a checkout, which is no part of the
package: `benchmarks/ours` calls this project, `benchmarks/peers` PyTorch.
"""

import argparse
import importlib
import importlib.util
import json
import pathlib
import runpy
import types
from collections.abc import Mapping, Sequence
from typing import Any

from u2pl_jax.models import network
from u2pl_jax.tools import benchmark_turns

_BANKS = ("full", "empty")
_MIN_SIDE = 17  # Sides smaller than this leave a single feature.


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
  """Adds what `run` takes.

  Args:
    parser: of the benchmark.
    name: of it.
  """
  add = parser.add_argument
  add("--config", help="FILE:ARG, whose settings replace the defaults")
  add("--against", metavar="FILE:ARG", help="in turn with this config of ours")
  add(
    "--set",
    dest="changes",
    action="append",
    default=[],
    metavar="KEY=VALUE",
    help="changes a key of the config, such as optim.kind=adamw; repeatable",
  )
  add("--recipe", help="preset of the config; default: its first one")
  add("--batch_size", type=int, help="images; of a step, labeled ones alone")
  add("--crop_size", type=int, help="pixels, of the crop or the window")
  add("--num_classes", type=int, help="K")
  add("--rounds", type=int, default=5, help="blocks of each side")
  add(
    "--alone",
    action="store_true",
    help="each block in a fresh process, the only one in memory",
  )
  add("--seed", type=int, default=0)
  if name in ("step", "eval"):
    add("--dtype", help=f"of the network: {', '.join(network.DTYPES)}")
  if name == "eval":
    add("--image_size", type=int, nargs=2, default=(1024, 2048))
  else:
    add("--num_present", type=int, help="classes that labels hold; default: K")
  if name == "step":
    add("--phase", default="last", help="of the run; default: its last one")
  if name in ("step", "contrast"):
    add("--banks", default="full", help=" or ".join(_BANKS))
  parser.set_defaults(name=name)


def run(
  *,
  name: str,
  rounds: int,
  alone: bool,
  peer: str,
  against: str | None = None,
  **settings: Any,
) -> dict[str, Any]:
  """Measures a program, in turn with the peer's.

  Args:
    name: of the benchmark.
    rounds: blocks of each side.
    alone: see `benchmark_turns.measure`.
    peer: "torch" or "none".
    against: "FILE:ARG" of a second program of ours, in the peer's place, with
      the same changes.
    **settings: see `make_settings`.

  Returns:
    `ours`; with a peer `peers`, by their settings, `best_peer`, the fastest,
    and `ratio`, its seconds by ours; `flops` of a call; `config`, the whole.

  Raises:
    ImportError: the peer lacks PyTorch, or this is no checkout.
    ValueError: an argument is out of range.
  """
  defaults = _import_settings()
  if rounds < 1:
    raise ValueError(f"--rounds={rounds}: must be positive")
  check_peer(peer)
  if against and peer != "none":
    raise ValueError(f"--against={against}: takes the place of --peer")
  made = make_settings(name, defaults, **settings)
  sides = _make_sides(name, made, peer, defaults)
  if against:
    theirs = make_settings(name, defaults, **settings | {"config": against})
    sides[against] = benchmark_turns.Side(sides["ours"].module, theirs)
  results = benchmark_turns.measure(sides, rounds, alone=alone)
  return summarize(results) | {"config": made["config"]}


def make_settings(
  name: str,
  defaults: types.ModuleType,
  *,
  config: str | None,
  changes: Sequence[str],
  recipe: str | None,
  batch_size: int | None,
  crop_size: int | None,
  num_classes: int | None,
  seed: int,
  num_present: int | None = None,
  dtype: str | None = None,
  image_size: Sequence[int] = (),
  phase: str = "last",
  banks: str = "full",
) -> dict[str, Any]:
  """What `make` of both sides takes.

  Args:
    name: of the benchmark.
    defaults: the module `benchmarks.settings`.
    config: "FILE:ARG"; None for the benchmark's own.
    changes: "KEY=VALUE" each, of the config.
    recipe: of the benchmark's own config.
    batch_size: images; of a step so many labeled and so many unlabeled ones.
    crop_size: side of crops or windows, pixels.
    num_classes: K.
    seed: of inputs and draws.
    num_present: classes in the labels; None for K.
    dtype, phase: of the network, and of the run.
    image_size: (H, W) of whole images.
    banks: "full" or "empty".

  Raises:
    ValueError, FileNotFoundError: one line that names the flag.
  """
  if banks not in _BANKS:
    raise ValueError(f"--banks={banks}: must be one of {', '.join(_BANKS)}")
  if config and recipe:
    raise ValueError("--recipe: with --config it stands in the argument of it")
  made = _load(config) if config else defaults.make_default(name, phase, recipe)
  sizes = {"batch_size": batch_size, "crop_size": crop_size, "dtype": dtype}
  defaults.change(made, _changes(name, sizes, made) | _parse(changes))
  if num_classes is None:
    num_classes = defaults.NUM_CLASSES.get(name, defaults.DEFAULT_NUM_CLASSES)
  num_present = num_classes if num_present is None else num_present
  if not 1 <= num_present <= num_classes:
    raise ValueError(f"--num_present={num_present}: must be in [1, K]")
  return {
    "config": made,
    "num_classes": num_classes,
    "num_present": num_present,
    "phase": phase,
    "banks": banks,
    "image_size": tuple(image_size),
    "batch_size": batch_size or 1,
    "seed": seed,
  }


def check_peer(peer: str) -> None:
  """Raises ImportError, one line, if the peer cannot run here."""
  if peer != "none" and importlib.util.find_spec(peer) is None:
    raise ImportError(
      f"--peer={peer}: the peer cannot be imported, as there is no {peer} here;"
      f" pip install {peer}, or leave --peer out"
    )


def _import_settings():
  try:
    return importlib.import_module("benchmarks.settings")
  except ImportError as error:
    raise ImportError(
      f"the benchmark cannot be imported ({error}): run it in a checkout of the"
      " repository"
    ) from error


def _load(config: str) -> dict[str, Any]:
  """The config of "FILE:ARG", nested."""
  file, _, arg = config.partition(":")
  if not pathlib.Path(file).is_file():
    raise FileNotFoundError(f"--config={file}: no such file")
  found = runpy.run_path(file)
  if "get_config" not in found:
    raise ValueError(f"--config={file}: the file defines no get_config")
  return found["get_config"](arg or None).to_dict()


def _changes(
  name: str, sizes: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
  """Keys of the config that flags of a benchmark stand for."""
  changes = {}
  if "contrast" in config:
    # Untrained networks, and labels that no network has seen: none is as sure
    # of a class as the published threshold asks. The peer skips classes without
    # anchors and would do less than in training.
    changes["contrast.min_anchor_prob"] = 0.0
  if sizes["crop_size"] is not None:
    if sizes["crop_size"] < _MIN_SIDE:
      raise ValueError(
        f"--crop_size={sizes['crop_size']}: must be >= {_MIN_SIDE}"
      )
    section = "eval" if name == "eval" else "data"
    changes[f"{section}.crop_size"] = (sizes["crop_size"],) * 2
  each = sizes["batch_size"]
  if each is not None and each < 1:
    raise ValueError(f"--batch_size={each}: must be positive")
  if each is not None and name != "eval":
    changes |= {"data.batch_size_l": each, "data.batch_size_u": each}
  if sizes["dtype"] is not None:
    if sizes["dtype"] not in network.DTYPES:
      raise ValueError(
        f"--dtype={sizes['dtype']}: must be one of {', '.join(network.DTYPES)}"
      )
    changes["model.dtype"] = sizes["dtype"]
  return changes


def _parse(words: Sequence[str]) -> dict[str, Any]:
  """Key -> value of "KEY=VALUE" each, the value as JSON or else a string."""
  changes = {}
  for word in words:
    key, has_value, value = word.partition("=")
    if not has_value:
      raise ValueError(f"--set={word}: expected KEY=VALUE")
    try:
      changes[key] = json.loads(value)
    except json.JSONDecodeError:
      changes[key] = value
  return changes


def _make_sides(name, settings, peer, defaults):
  """Ours and each setting of the peer, by their names."""
  ours, theirs = defaults.MODULES[name]
  sides = {"ours": benchmark_turns.Side(ours, settings)}
  if peer != "none":
    dtype = settings["config"]["model"]["dtype"]
    for setting in defaults.peer_settings(_platform(), dtype):
      label = "/".join(setting.values())
      sides[label] = benchmark_turns.Side(theirs, settings | setting)
  return sides


def _platform() -> str:
  """Where PyTorch would compute, without importing it."""
  return "gpu" if pathlib.Path("/dev/nvidiactl").exists() else "cpu"


def summarize(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """See what `run` returns.

  Args:
    results: of "ours", and of each setting of the peer by its name.
  """
  peers = {name: dict(side) for name, side in results.items() if name != "ours"}
  ours = dict(results["ours"])
  flops = ours.pop("flops")
  for side in (ours, *peers.values()):
    counted = side.pop("flops", flops)  # A second program of ours counts too.
    side["flops_per_second"] = counted / side["seconds"]["median"]
    peak = side["matmul_flops_per_second"]
    side["fraction_of_matmul"] = side["flops_per_second"] / peak
  summary = {
    "flops": flops,
    "flops_counted": (
      "convolutions and matrix products of our program's jaxpr, forward and"
      " backward, a multiplication and an addition being two; taps in the"
      " padding not counted"
    ),
    "ours": ours,
  }
  if not peers:
    return summary
  best = min(peers, key=lambda name: peers[name]["seconds"]["median"])
  _check_same_device(ours, peers[best])
  of_rounds = [
    theirs / own
    for theirs, own in zip(
      peers[best]["seconds"]["rounds"], ours["seconds"]["rounds"]
    )
  ]
  return summary | {
    "peers": peers,
    "best_peer": best,
    "ratio": peers[best]["seconds"]["median"] / ours["seconds"]["median"],
    "ratio_of_rounds": {"min": min(of_rounds), "max": max(of_rounds)},
    "memory_ratio": peers[best]["peak_mib"] / ours["peak_mib"],
  }


def _check_same_device(ours, peer) -> None:
  """Raises ValueError, one line, if one side had an accelerator alone."""
  platforms = ours["platform"], peer["platform"]
  if (platforms[0] == "cpu") != (platforms[1] == "cpu"):
    raise ValueError(
      "--peer: ours ran on {}, the peer on {}; leave --peer out".format(
        *platforms
      )
    )
