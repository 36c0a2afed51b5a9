"""Settings of benchmarks that take seconds."""

from benchmarks import settings

NUM_CLASSES = 5
TINY = {
  "model.encoder": "resnet18",
  "encoder.width": 4,
  "encoder.output_stride": 16,
  "encoder.multi_grid": False,
  "decoder.channels": 8,
  "decoder.low_level_channels": 4,
  "decoder.rep_channels": 6,
  "decoder.aspp_rates": (1,),
  "data.batch_size_l": 2,
  "data.batch_size_u": 2,
  "data.crop_size": (33, 33),
  "eval.crop_size": (33, 33),
}
CONTRAST = {
  "contrast.min_anchor_prob": 0.0,
  "contrast.num_anchors": 4,
  "contrast.num_negatives": 7,
  "contrast.low_rank": 2,
  "contrast.bank_capacity": 50,
  "contrast.bank_capacity_class0": 60,
  "contrast.max_keys_per_class": 16,
}


def make_settings(name, recipe="paper", **changes):
  """What `make` of a side takes.

  Args:
    name: of the benchmark.
    recipe: of its config.
    **changes: of the settings beside the config.
  """
  config = settings.make_config("u2pl", recipe, TINY)
  settings.change(config, CONTRAST)
  return {
    "config": config,
    "num_classes": NUM_CLASSES,
    "num_present": NUM_CLASSES,
    "phase": "last",
    "banks": "full",
    "image_size": (49, 65),
    "batch_size": 1,
    "seed": 0,
  } | changes
