"""Generated scenes of two classes, one of which covers little.

  python main.py --config=configs/synthetic_balls.py --workdir=runs/balls \
    --config.loss.dice_weight=1

As synthetic.py, but that objects are a third as wide; balls, 1.6 % of the
pixels, are one class, and all else is the other one. Makes its data.
"""

from ml_collections import config_dict

from configs import synthetic


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  config = synthetic.get_config(arg, name="synthetic_balls")
  if "contrast" in config:  # A key of class c must not be the likelier one.
    config.contrast.low_rank = 1
  return config
