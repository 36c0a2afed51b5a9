"""Another encoder or decoder than a protocol's, by a word of the argument."""

from collections.abc import Mapping
from typing import Any

from u2pl_jax.data import options as data_options
from u2pl_jax.evaluation import options as eval_options
from u2pl_jax.models import decoders, encoders, forward, network

_FIND = {"encoder": encoders.find, "decoder": decoders.find}
_CROPS = {
  "data.crop_size": data_options.DataOptions,
  "eval.crop_size": eval_options.EvalOptions,
}


def choose(
  settings: Mapping[str, Any], encoder: str, decoder: str
) -> dict[str, Any]:
  """The settings of a protocol with another network.

  An encoder brings along what it goes with, see `models.encoders`, and crops
  become the nearest that it can take. Settings of a part that is no longer
  there are dropped.

  Args:
    settings: "section.name" -> value, see `common.make_config`.
    encoder: what `model.encoder` shall be; "" for as it is.
    decoder: the same of `model.decoder`; "" for as it is, or what the encoder
      goes with.

  Raises:
    ValueError: there is no such encoder or decoder; one line.
  """
  defaults = network.ModelOptions.defaults()
  before = {
    part: settings.get(f"model.{part}", defaults[part]) for part in _FIND
  }
  module = encoders.find(encoder or before["encoder"])
  is_new = module is not encoders.find(before["encoder"])
  brought = dict(getattr(module, "GOES_WITH", {})) if is_new else {}
  for part, name in (("encoder", encoder), ("decoder", decoder)):
    if name:
      brought[f"model.{part}"] = name
  gone = ["model.pretrained"] if is_new else []
  for part, find in _FIND.items():
    after = brought.get(f"model.{part}", before[part])
    if find(after) is not find(before[part]):
      gone.append(f"{part}.")
  chosen = {k: v for k, v in settings.items() if not k.startswith(tuple(gone))}
  chosen |= brought
  return chosen | _fit_crops(chosen, module.MULTIPLE)


def _fit_crops(settings: Mapping[str, Any], multiple: int) -> dict[str, Any]:
  """Crops whose sides are multiples, where they are said and are none."""
  fitted = {}
  for key, options in _CROPS.items():
    size = settings.get(key, options.defaults()["crop_size"])
    # 0 is filled in once the images are known.
    if any(side % multiple for side in size) and all(size):
      fitted[key] = tuple(
        forward.nearest_multiple(side, multiple) for side in size
      )
  return fitted
