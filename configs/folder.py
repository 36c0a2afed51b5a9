"""Any prepared dataset: what it does not say follows from its images.

  python -m data_prep.folder --root=TREE --name=mine --data_dir=data
  python main.py --config=configs/folder.py:mine,split=1_8 --workdir=runs/mine

The argument is the name of the dataset and, all optional, split=, method=,
recipe=, and pretrained=FILE, a file of data_prep.convert_torch_resnet or what
u2pl_jax.tools.export writes for this package: the network is then the one that
the file belongs to. With pretrained=WORKDIR the run starts from the best
checkpoint of another one, and has its network, its sizes of crops and batches,
and its learning rate. Without, the network is a small one, from scratch.

What follows from the images and the devices at hand is filled in when a run
begins, unless --config.KEY=VALUE sets it; see `complete`. A run that goes on
keeps what it began with.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import config_dict

from configs import common
from u2pl_jax.data import shapes
from u2pl_jax.models import memory, network, pretrained, saved_networks
from u2pl_jax.runtime import devices, workdir

# What `complete` fills in, by the value that asks for it.
_OF_EVERY_RUN = {
  "data.split": "",
  "data.crop_size": (0, 0),
  "data.batch_size_l": 0,
  "data.batch_size_u": 0,
  "eval.protocol": "",
  "eval.crop_size": (0, 0),
  "eval.batch_size": 0,
  "eval.every_epochs": 0,
  "train.epochs": 0,
}
_OF_U2PL = {"semi.supervised_epochs": -1, "contrast.low_rank": -1}
AUTOMATIC = {**_OF_EVERY_RUN, **_OF_U2PL}

# What a run that starts from another one has from it, beside its network.
_GOES_ON = (
  "data.crop_size", "data.batch_size_l", "data.batch_size_u",
  "optim.learning_rate", "optim.lr_per_16", "optim.weight_decay",
  "optim.factors.head",
)  # fmt: skip

_EXAMPLE = "e.g. --config=configs/folder.py:mine,split=1_8"
_EVALUATIONS = 12  # In a run, about.
# Student, teacher and losses, times what one pass keeps of an image.
_MEMORY_FACTOR = 2
_WHOLE_PIXELS = 2**21  # Larger images are evaluated in windows.
_PIXELS_AT_ONCE = 2**19  # Of an evaluation, per device.
_SIZES_READ = 200  # Images whose sizes count, of each part.


@dataclasses.dataclass(frozen=True)
class _Scale:
  """How much a machine does in a sensible time.

  Attributes:
    crop: longest side of a crop in pixels.
    batch: labeled images a step at most, and unlabeled ones.
    steps: updates in all, about.
  """

  crop: int
  batch: int
  steps: int


_CPU = _Scale(crop=97, batch=8, steps=1500)
_CPU_PRETRAINED = _Scale(crop=225, batch=4, steps=750)
_ACCELERATOR = _Scale(crop=513, batch=16, steps=20_000)


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  name, weights, rest = _parse_arg(arg)
  chosen, of_method = _choose_network(weights)
  bank = {key: of_method[key] for key in common.SMALL_BANK if key in of_method}
  return common.make_config(
    rest,
    splits=None,
    settings={
      "data.name": name,
      "data.scale_range": (0.5, 1.5),
      "optim.lr_per_16": True,
      **chosen,
    },
    of_method={
      "u2pl": {**of_method, **_OF_U2PL},
      "u2pl_ael": {**bank, **_OF_U2PL},
    },
    published_gpus=1,
  )


def _parse_arg(arg: str | None) -> tuple[str, str, str]:
  """The name of the dataset, a file of weights or "", and the other words."""
  words = list(filter(None, (arg or "").split(",")))
  names = [word for word in words if "=" not in word]
  files = [word for word in words if word.startswith("pretrained=")]
  if len(names) != 1 or len(files) > 1:
    raise ValueError(
      f"config argument {arg or ''!r}: must hold the name of one prepared"
      f" dataset, and pretrained=FILE at most once; {_EXAMPLE}"
    )
  rest = [word for word in words if word not in names + files]
  return names[0], "".join(files).partition("=")[2], ",".join(rest)


def _choose_network(weights: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """Settings of the network that weights are of; of a small one without.

  Learning rates are for 16 images a step.

  Args:
    weights: a file, the folder of a run, or "".

  Returns:
    Settings of every method, and of U2PL alone.
  """
  if not weights:
    small = {**common.SMALL_NETWORK, "optim.learning_rate": 0.1}
    return small | _OF_EVERY_RUN, common.SMALL_U2PL
  if saved_networks.may_be_run(weights):
    return _read_run(weights)
  sections = pretrained.read_sections(weights)
  if sections["model"]["encoder"] == common.EFFICIENTNET["model.encoder"]:
    settings = {**common.EFFICIENTNET, "optim.learning_rate": 0.012}
  else:
    settings = {**workdir.flatten(sections), "optim.learning_rate": 0.001}
  # Pretrained networks are large enough for the published banks.
  return settings | _OF_EVERY_RUN | {"model.pretrained": weights}, {}


def _read_run(folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """The settings that a run goes on with, as `_choose_network` returns them.

  Raises:
    FileNotFoundError, ValueError: there is no run, or a damaged one; one line.
  """
  config = workdir.read_config(epath.Path(folder).expanduser())
  flat = workdir.with_tuples(workdir.flatten(config))
  sections = ("model.", "encoder.", "decoder.")
  kept = {
    key: value
    for key, value in flat.items()
    if key.startswith(sections) or key in _GOES_ON
  }
  of_method = {key: flat[key] for key in common.SMALL_U2PL if key in flat}
  return _OF_EVERY_RUN | kept | {"model.pretrained": folder}, of_method


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
  """Fills in what a config of this file leaves to its dataset and devices.

  Crops are as large as the images and the machine allow, batches as large as
  the memory allows; epochs make minutes on a CPU and hours on a GPU; with few
  classes a class counts as unlikely from a lower rank on.

  Args:
    config: nested; keys that hold the values of `AUTOMATIC` are filled in, and
      all others stay.

  Raises:
    FileNotFoundError, ValueError: there is no such dataset or split; one line.
  """
  # TensorFlow is not to be loaded before the devices are known.
  from u2pl_jax.data import datasets, input_pipeline

  filled = {
    key: dict(value) if isinstance(value, Mapping) else value
    for key, value in config.items()
  }
  flat = workdir.flatten(filled)
  if not any(flat.get(key) == value for key, value in AUTOMATIC.items()):
    return filled  # As of a run that goes on: nothing needs to be read.

  def fill(key: str, choose: Callable[[], Any]) -> Any:
    """What the key holds from now on."""
    section, name = key.split(".")
    if filled.get(section, {}).get(name) == AUTOMATIC[key]:
      filled[section][name] = choose()
    return filled.get(section, {}).get(name)

  data = filled["data"]
  dataset = datasets.open_dataset(data["name"], data["data_dir"])
  fill(
    "data.split",
    lambda: _choose_split(dataset.name, datasets.list_splits(dataset)),
  )
  split = datasets.read_split(dataset, data["split"])
  scale = _ACCELERATOR
  if devices.is_cpu():
    scale = _CPU_PRETRAINED if filled["model"]["pretrained"] else _CPU
  model = network.create(filled, dataset.num_classes)
  size = fill(
    "data.crop_size",
    lambda: _choose_crop(_read_sizes(dataset, "train"), scale, model.multiple),
  )
  parts = filled["optim"]["accumulate_steps"]
  for key in ("data.batch_size_l", "data.batch_size_u"):
    fill(key, lambda: _choose_batch(model, size, scale.batch, parts))
  steps = input_pipeline.steps_per_epoch(split, data["batch_size_u"])
  epochs = fill("train.epochs", lambda: math.ceil(scale.steps / steps))
  fill("semi.supervised_epochs", lambda: epochs // 4)
  fill("contrast.low_rank", lambda: min(3, dataset.num_classes - 1))
  fill("eval.every_epochs", lambda: max(epochs // _EVALUATIONS, 1))
  _fill_evaluation(fill, size, _read_sizes(dataset, "val"))
  return filled


def _choose_split(name: str, splits: Sequence[str]) -> str:
  """The only split there is."""
  if len(splits) == 1:
    return splits[0]
  raise ValueError(
    f"config argument split= is missing; dataset {name!r} has"
    f" {', '.join(splits) or 'no split, see data_prep.make_splits'}; {_EXAMPLE}"
  )


def _read_sizes(dataset: Any, part: str) -> list[shapes.Size]:
  """(height, width) of images of a part, from all over it."""
  from u2pl_jax.data import preprocess, reading

  count = len(dataset.ids[part])
  read = reading.record_reader(dataset.files[part])
  step = max(count // _SIZES_READ, 1)
  return preprocess.read_sizes(read, range(0, count, step))


def _choose_crop(
  sizes: Sequence[shapes.Size], scale: _Scale, multiple: int
) -> shapes.Size:
  """The size of most images, as far as the scale allows; (height, width).

  Sides are one more than a multiple of the encoder's stride, where any will do:
  so corners of features lie on corners of images.
  """
  sides = []
  for lengths in zip(*sizes, strict=True):
    side = min(statistics.median_low(lengths), scale.crop)
    if multiple > 1:
      sides.append(max(side // multiple, 1) * multiple)
    else:
      unit = 32 if side > 64 else 8
      sides.append(max((side - 1) // unit, 2) * unit + 1)
  return tuple(sides)


def _choose_batch(
  model: network.Network, size: shapes.Size, most: int, parts: int
) -> int:
  """Images a step of each sort: what half of the memory at hand takes.

  A power of two for each device; two at least, for the sake of statistics.
  """
  kept = memory.kept_bytes(model, size) * _MEMORY_FACTOR
  fitting = devices.free_bytes() // (2 * kept)
  each = max(min(fitting, most // jax.device_count()), 1)
  unit = jax.device_count() * parts
  return max(2 ** int(math.log2(each)) * unit, 2 * parts)


def _fill_evaluation(
  fill: Callable[[str, Callable[[], Any]], Any],
  crop: shapes.Size,
  sizes: Sequence[shapes.Size],
) -> None:
  """Whole images at their own size; where that is too large, windows."""
  largest = max((height * width for height, width in sizes), default=1)
  fits = largest <= _WHOLE_PIXELS
  fill("eval.protocol", lambda: "whole" if fits else "slide")
  fill("eval.crop_size", lambda: crop)
  each = max(_PIXELS_AT_ONCE // largest, 1)
  enough = max(len(sizes) // jax.device_count(), 1)
  fill("eval.batch_size", lambda: min(each, enough) * jax.device_count())
