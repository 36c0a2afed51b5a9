"""What each benchmark measures if nothing else is said, as plain dicts.

Without data, TensorFlow and ml_collections: a bare accelerator machine has
none of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from u2pl_jax import methods
from u2pl_jax.methods import method as method_lib
from u2pl_jax.models import network
from u2pl_jax.training import assemble
from u2pl_jax.training import options as training_options

_SMALL = {
  "model.encoder": "resnet50",
  "data.crop_size": (129, 129),
  "data.batch_size_l": 2,
  "data.batch_size_u": 2,
}
# Keys of the config, by the name of a benchmark.
DEFAULTS = {
  "step": _SMALL,
  # 4 + 4 images, whose features are 129 pixels wide.
  "contrast": {"data.batch_size_l": 4, "data.batch_size_u": 4},
  "partition": {"data.batch_size_l": 4, "data.batch_size_u": 4},
  "augment": {"data.batch_size_l": 16, "data.batch_size_u": 16},
  "eval": {"model.encoder": "resnet50", "eval.crop_size": (769, 769)},
}
NUM_CLASSES = {"eval": 19}
DEFAULT_NUM_CLASSES = 21
# Our side and the peer's.
MODULES = {
  name: (f"benchmarks.ours.{name}", f"benchmarks.peers.torch_{name}")
  for name in DEFAULTS
}


def make_config(
  method: str, recipe: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
  """A whole config, nested, as `configs.common.make_config` makes it.

  Args:
    method: its name.
    recipe: one of its presets.
    settings: "section.name" -> value, where they differ from the defaults.

  Raises:
    ValueError: there is no such method, recipe or key; one line.
  """
  module = methods.find(method)
  config = training_options.RunOptions.defaults()
  config |= {"method": method, "recipe": recipe}
  chosen = {
    part: settings[f"model.{part}"]
    for part in ("encoder", "decoder")
    if f"model.{part}" in settings
  }
  config |= network.sections(**chosen)
  for section in (*assemble.SECTIONS, *module.OPTIONS):
    config[section.SECTION] = section.defaults()
  change(config, settings)
  published = method_lib.Published(batch_size_l=config["data"]["batch_size_l"])
  recipes = module.recipes(published)
  if recipe not in recipes:
    raise ValueError(f"--recipe={recipe}: must be one of {', '.join(recipes)}")
  change(config, recipes[recipe])
  if not module.USES_REPRESENTATION:
    config["decoder"]["rep_channels"] = 0
  return config


def make_default(name: str, phase: str, recipe: str | None) -> dict[str, Any]:
  """The config of a benchmark.

  Args:
    name: of the benchmark.
    phase: "supervised" for labels alone, without a teacher.
    recipe: of the method; None for its first one.

  Raises:
    ValueError: see `make_config`.
  """
  method = "suponly" if phase == "supervised" else "u2pl"
  if recipe is None:
    recipe = next(iter(methods.find(method).recipes(method_lib.Published())))
  return make_config(method, recipe, DEFAULTS[name])


def change(config: dict[str, Any], settings: Mapping[str, Any]) -> None:
  """Changes keys of a config in place.

  Args:
    config: nested.
    settings: "section.name" -> value.

  Raises:
    ValueError: there is no such key; one line.
  """
  for key, value in settings.items():
    *sections, name = key.split(".")
    place = config
    for section in sections:
      place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict) or name not in place:
      raise ValueError(f"--set={key}: the config has no such key")
    place[name] = value


def peer_settings(platform: str, dtype: str) -> Sequence[dict[str, str]]:
  """The settings that the peer is measured with; its best one counts.

  Args:
    platform: "cpu" or "gpu".
    dtype: of our side's computation; "bfloat16" lets the peer use autocast.

  Returns:
    Of each, the memory format of its maps and the precision of its products.
  """
  precisions = ["float32"]
  if platform == "gpu":
    precisions.append("tf32")
  if dtype == "bfloat16":
    precisions.append("bfloat16")
  return [
    {"format": memory_format, "precision": precision}
    for memory_format in ("contiguous", "channels_last")
    for precision in precisions
  ]
