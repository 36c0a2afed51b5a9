"""The README.md of a shared network: what it is, was taught, and can do."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jinja2
from etils import epath

import u2pl_jax
from u2pl_jax.predict import trained
from u2pl_jax.runtime import workdir as workdir_lib


def write(
  network: trained.Trained,
  workdir: epath.PathLike,
  *,
  name: str,
  license_id: str,
  is_watched: bool,
) -> str:
  """The text of the card, Markdown with the metadata that model hubs read.

  Args:
    network: from the run, by `trained.load_run`.
    workdir: of the run; its config and scores are told.
    name: of the network.
    license_id: of the weights, such as "apache-2.0".
    is_watched: whether the best mIoU of the run is one of this network's.

  Raises:
    OSError, ValueError: a file of the run cannot be read; one line.
  """
  workdir = epath.Path(workdir)
  config = workdir_lib.read_config(workdir)
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("u2pl_jax.tools"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  leaves = jax.tree.leaves(network.variables["params"])
  return environment.get_template("model_card.md.jinja2").render(
    name=name,
    license=license_id,
    version=u2pl_jax.__version__,
    network=describe_source(network),
    class_names=network.class_names,
    num_parameters=sum(math.prod(leaf.shape) for leaf in leaves),
    scores=find_scores(workdir, describe_source(network), is_watched),
    started_from=pathlib.PurePath(config["model"]["pretrained"]).name,
    epochs=config["train"]["epochs"],
    **{key: config[key] for key in ("data", "model")},
    **{key: config[key] for key in ("method", "recipe", "seed")},
  )


def describe_source(network: trained.Trained) -> str:
  """Such as "teacher of step 96"; without the folder of the run."""
  return network.origin.rpartition(", ")[2]


def find_scores(
  workdir: epath.Path, source: str, is_watched: bool
) -> list[dict[str, Any]]:
  """All that a run measured of one network.

  Args:
    workdir: of the run.
    source: of `describe_source`.
    is_watched: see `write`.

  Returns:
    Dicts of `protocol`, `miou` and `pixel_accuracy` in percent, and `iou` by
    class, None for absent ones; the last two unknown, "-" and {}, where only
    the best mIoU of the run is told. [] where there is no score.
  """
  path = workdir / "result.json"
  if not path.exists():
    return []
  result = workdir_lib.read_json(path, "u2pl-jax evaluate writes it anew")
  found = [
    _read_score(protocol, scores)
    for evaluation, scores in result["evaluations"].items()
    for protocol, of_network in [evaluation.rsplit(", ", 1)]
    if of_network == source
  ]
  protocol, miou = result["best_protocol"], result["best_miou"]
  is_told = any(score["protocol"].startswith(protocol) for score in found)
  is_best = source.endswith(f" of step {result['best_step']}")
  if is_watched and is_best and not is_told:
    score = {"protocol": protocol, "miou": miou}
    found.append(score | {"pixel_accuracy": "-", "iou": {}})
  return found


def _read_score(name: str, scores: Mapping[str, Any]) -> dict[str, Any]:
  """Of an entry of `evaluations`, whose keys begin with the protocol."""
  values = {key.rpartition("/")[2]: value for key, value in scores.items()}
  return {"protocol": name} | values
