"""How a config is made: defaults, what a protocol changes, method and recipe.

The keys stand with the code that reads them, each in an options class with its
default, unit and allowed values; every class is a section of the config:

  model              u2pl_jax/models/network.py
  encoder, decoder   u2pl_jax/models/encoders/, u2pl_jax/models/decoders/
  data               u2pl_jax/data/options.py
  loss               u2pl_jax/losses/pixelwise.py
  optim              u2pl_jax/training/optim.py
  seed, mesh, train, checkpoint, log  u2pl_jax/training/options.py
  eval               u2pl_jax/evaluation/options.py
  all others         u2pl_jax/methods/, of the method that is chosen

The defaults are the published PASCAL VOC settings. A config file says what
differs, and the argument after the colon chooses split, method and recipe, and
encoder and decoder where they shall be others than the protocol's:

  --config=configs/camvid.py:1_8,method=suponly,recipe=reference
  --config=configs/voc.py:366,encoder=dinov2_vitb14

A recipe is a preset over separate keys, which the method declares; each of
them can still be set by itself, e.g. --config.contrast.num_anchors=128.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import config_dict

from configs import networks
from u2pl_jax import methods
from u2pl_jax.methods import method as method_lib
from u2pl_jax.models import network
from u2pl_jax.training import assemble
from u2pl_jax.training import options as training_options

DEFAULT_METHOD = "u2pl"
_WORDS = ("split", "method", "recipe", "encoder", "decoder")  # Of the argument.

# A network and batches that train from scratch on a few CPU cores: a ResNet-18
# of a quarter of the width at output stride 16. All its parts learn at one
# rate, as none is pretrained; every unlabeled batch is mixed.
SMALL_NETWORK = {
  "model.encoder": "resnet18",
  "encoder.width": 16,
  "encoder.output_stride": 16,
  "encoder.multi_grid": False,
  "decoder.channels": 32,
  "decoder.low_level_channels": 16,
  "decoder.rep_channels": 32,
  "decoder.aspp_rates": (2, 4, 6),
  "data.batch_size_l": 8,
  "data.batch_size_u": 8,
  "optim.factors.head": 1.0,
  "optim.weight_decay": 5e-4,
}
# EfficientNet-Lite0 with a decoder of 64 channels, to be fine-tuned on a few
# CPU cores, see `model.pretrained`.
EFFICIENTNET = {
  "model.encoder": "efficientnet_lite0",
  "encoder.output_stride": 32,
  "decoder.channels": 64,
  "decoder.low_level_channels": 24,
  "decoder.rep_channels": 64,
  "decoder.aspp_rates": (1, 2, 3),
}
# Methods with a bank where there is little memory, and U2PL where every step
# counts.
SMALL_BANK = {
  "contrast.bank_capacity": 4096,
  "contrast.bank_capacity_class0": 4096,
  "contrast.max_keys_per_class": 256,
}
SMALL_U2PL = {"augment.probability": 1.0, **SMALL_BANK}


def make_config(
  arg: str | None,
  *,
  splits: Sequence[str] | None,
  settings: Mapping[str, Any],
  of_method: Mapping[str, Mapping[str, Any]] | None = None,
  of_recipe: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
  default_method: str = DEFAULT_METHOD,
  published_gpus: int = 4,
) -> config_dict.ConfigDict:
  """A whole config, locked.

  Args:
    arg: what stands after the colon of --config.
    splits: see `parse_arg`.
    settings: "section.name" -> value, where the protocol differs from the
      defaults.
    of_method: the same for the sections of a method, by its name; only those
      of the one that is chosen count.
    of_recipe: the same by method and recipe; it counts more than what the
      recipe itself says.
    default_method: where the argument names none.
    published_gpus: of the published run, for its recipe.

  Raises:
    ValueError: see `parse_arg`.
    KeyError: a key of `settings` does not exist.
  """
  words = parse_arg(arg, splits, default_method)
  settings = networks.choose(settings, words["encoder"], words["decoder"])
  module = methods.find(words["method"])
  run = training_options.RunOptions.defaults()
  config = config_dict.ConfigDict(
    run | {"method": words["method"], "recipe": words["recipe"]}
  )
  chosen = {
    part: settings[f"model.{part}"]
    for part in ("encoder", "decoder")
    if f"model.{part}" in settings
  }
  for name, section in network.sections(**chosen).items():
    config[name] = config_dict.ConfigDict(section)
  for section in (*assemble.SECTIONS, *module.OPTIONS):
    config[section.SECTION] = config_dict.ConfigDict(section.defaults())
  config.lock()
  changes = dict(settings) | dict((of_method or {}).get(words["method"], {}))
  config.update_from_flattened_dict(changes | {"data.split": words["split"]})
  published = method_lib.Published(published_gpus, config.data.batch_size_l)
  recipe = module.recipes(published)[words["recipe"]]
  config.update_from_flattened_dict(recipe)
  chosen = words["method"], words["recipe"]
  config.update_from_flattened_dict(dict((of_recipe or {}).get(chosen, {})))
  if not module.USES_REPRESENTATION and "rep_channels" in config.decoder:
    config.decoder.rep_channels = 0
  return config


def parse_arg(
  arg: str | None,
  splits: Sequence[str] | None,
  default_method: str = DEFAULT_METHOD,
) -> dict[str, str]:
  """Reads "SPLIT,method=...,encoder=...", in any order, all optional.

  Args:
    arg: what stands after the colon of --config.
    splits: allowed values of SPLIT, the first being the default; one only if
      the config has but one. None for any, with "" as the default.
    default_method: where none is named.

  Returns:
    A dict with the keys split, method, recipe, encoder and decoder; the last
    two are "" unless given.

  Raises:
    ValueError: an unknown, repeated or badly valued word, which it names.
  """
  given = {}
  for word in filter(None, (arg or "").split(",")):
    key, has_value, value = word.partition("=")
    if not has_value:
      key, value = "split", word
    if key not in _WORDS or key in given:
      problem = "given twice" if key in given else "unknown"
      expected = ",".join(f"{name}=..." for name in _WORDS[1:])
      raise ValueError(
        f"config argument {word!r}: {key!r} is {problem}; expected"
        f" SPLIT,{expected}"
      )
    given[key] = value
  method = given.get("method", default_method)
  _check_word("method", method, methods.names(), is_open="." in method)
  recipes = tuple(methods.find(method).recipes(method_lib.Published()))
  split = splits[0] if splits else ""
  words = dict.fromkeys(_WORDS, "")
  words |= {"split": split, "method": method, "recipe": recipes[0]} | given
  _check_word("split", words["split"], splits or (), is_open=splits is None)
  _check_word("recipe", words["recipe"], recipes)
  return words


def _check_word(
  key: str, value: str, allowed: Sequence[str], *, is_open: bool = False
) -> None:
  if value not in allowed and not is_open:
    raise ValueError(
      f"config argument {key}={value}: must be one of {', '.join(allowed)}"
    )


def take_word(
  arg: str | None, key: str, allowed: Sequence[str]
) -> tuple[str, str]:
  """Takes "KEY=..." out of the argument of a config that knows such a word.

  Args:
    arg: what stands after the colon of --config.
    key: of the word.
    allowed: its values, the first being the default.

  Returns:
    The rest of the argument, and the value.

  Raises:
    ValueError: the word is given twice, or has another value.
  """
  words = list(filter(None, (arg or "").split(",")))
  found = [word for word in words if word.startswith(f"{key}=")]
  if len(found) > 1:
    raise ValueError(
      f"config argument {found[1]!r}: {key!r} is given twice; expected once"
    )
  value = found[0].partition("=")[2] if found else allowed[0]
  _check_word(key, value, allowed)
  return ",".join(word for word in words if word not in found), value
