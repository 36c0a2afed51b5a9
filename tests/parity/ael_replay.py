"""What replays of the branch with_AEL share: settings, and recorded draws."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import contrast_replay, golden, replay
from u2pl_jax import methods
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl_ael import chance

AEL = methods.find("u2pl_ael")


class RecordedChance(chance.Chance):
  """Draws that were recorded, in the place of random ones."""

  def __init__(self, step: dict[str, jax.Array], num_classes: int):
    """Takes the draws of a step.

    Args:
      step: `copy_paste_classes_drawn`, `box_y0x0y1x1`, `uniform_q`.
      num_classes: K.
    """
    self._step = step
    self._num_classes = num_classes

  def pasted_classes(self, key, probability, batch_size, draws):
    del key, probability
    drawn = self._step["copy_paste_classes_drawn"]
    assert len(drawn) == draws
    chosen = (drawn[:, None] == np.arange(self._num_classes)).any(0)
    return chosen[None].repeat(batch_size, axis=0)

  def boxes(self, key, labels, classes, min_share):
    del key, labels, classes, min_share
    return self._step["box_y0x0y1x1"][None]

  def uniform(self, key, labeled, mixed):
    del key
    uniform = (self._step["uniform_q"].astype(np.float32) + 0.5) / 256
    # The images of a GPU shared one map.
    shapes = labeled, mixed
    return tuple(map(jnp.broadcast_to, uniform, shapes))

  def ranks(self, key, count, shape):
    return contrast_replay.first_ones(key, count, shape)


def settings_of(
  config: dict[str, Any], start_epoch: int, max_keys: int
) -> dict[str, Any]:
  """The settings of the `reference` recipe with what a recording says."""
  published = method_lib.Published(num_gpus=1, batch_size_l=2)
  given, settings = (
    config["contrast"],
    dict(AEL.recipes(published)["reference"]),
  )
  # What the steps do always.
  assert given["negative_high_entropy"]
  assert given["unsupervised_entropy_ignore"] == 80
  assert given["low_entropy_threshold"] == config["entropy_percent_0"] == 20
  others, class0 = config["queue_size"]
  settings |= {
    f"contrast.{name}": value
    for name, value in contrast_replay.recorded_settings(given).items()
  }
  return settings | {
    "contrast.weight": config["contra_weight"],
    "contrast.label_stack": config["label_stack"],
    "contrast.max_negative_prob": given["current_class_negative_threshold"],
    "contrast.max_keys_per_class": max_keys,
    "contrast.bank_capacity": others,
    "contrast.bank_capacity_class0": class0,
    "semi.ema_decay": config["ema_decay"],
    "ael.confidence_momentum": config["conf_momentum"],
    "ael.component_area": config["component_area"],
    "ael.present_area": config["present_area"],
    "ael.gamma": config["gamma"],
    "ael.beta": config["gamma2"],
    "ael.confidence_threshold": config.get("confidence_threshold", 0.0),
    "ael.consistency_weight_l": config["cons_weight"],
    "ael.consistency_weight_u": config["cons_weight"],
    "ael.excluded": excluded_of(config),
    "ael.copy_paste_draws": config.get("copy_paste_draws", 3),
    "ael.contrast_start": start_epoch / config["epochs"],
    "ael.draw_lag": 0,
  }


def excluded_of(config: dict[str, Any]) -> tuple[int, ...]:
  """The published ids, as far as there are so many classes."""
  return tuple(c for c in config["copy_paste_excluded"] if c < config["K"])


def options_of(settings: dict[str, Any]) -> list[Any]:
  """The options classes of the method with these settings."""
  return [
    section.make(
      section.defaults()
      | {
        key.partition(".")[2]: value
        for key, value in settings.items()
        if key.startswith(f"{section.SECTION}.")
      }
    )
    for section in AEL.OPTIONS
  ]


def parts_of(config: dict[str, Any], model: Any) -> method_lib.Parts:
  """A run with the network and the loss of a recording."""
  loss = pixelwise.LossOptions(
    kind="ohem",
    ohem_threshold=config["ohem_thresh"],
    ohem_min_kept=config["ohem_min_kept"],
    aux_weight=config["aux_weight"],
  )
  return method_lib.Parts(
    model=model,
    supervised_loss=pixelwise.make_supervised_loss(loss),
    timeline=timeline_lib.Timeline(config["steps_per_epoch"], config["epochs"]),
    class_names=tuple(map(str, range(config["K"]))),
    num_unlabeled=config["n_unlabeled"],
    batch_size_l=config["label_stack"],
    # One as recorded; two, as batch norm over one is refused in a run.
    batch_size_u=2,
    accumulate_steps=1,
  )


def phases_of(
  config: dict[str, Any],
  model: Any,
  start_epoch: int,
  max_keys: int,
  step: dict[str, jax.Array],
) -> tuple[method_lib.Phase, ...]:
  """The phases without and with the contrastive loss, and recorded draws."""
  settings = settings_of(config, start_epoch, max_keys)
  phases = AEL.create(
    parts_of(config, model),
    *options_of(settings),
    chance=RecordedChance(step, config["K"]),
    halves=replay.ONE_BEHIND_THE_OTHER,
  )
  if config.get("corrected", True):
    return phases
  return tuple(
    dataclasses.replace(phase, method=_pair_by_position(phase.method))
    for phase in phases
  )


def _pair_by_position(method: method_lib.Method) -> method_lib.Method:
  def losses(outputs, lesson):
    targets = lesson.targets
    if targets.plan is not None:
      _, plan = contrast_replay.pair_by_position(targets.plan)
      lesson = lesson.replace(targets=targets.replace(plan=plan))
    return method.losses(outputs, lesson)

  return method._replace(losses=losses)


def read_config(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  return json.loads(str(arrays["config_json"]))


def read(array: np.ndarray, scale: float) -> np.ndarray:
  """float32 [B, H, W, C] of recorded integers [B, C, H, W]."""
  return golden.channels_last(np.float32(array) / scale)
