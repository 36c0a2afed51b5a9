"""Generated scenes of two classes, of which one is rare.

  python main.py --config=configs/synthetic_stars.py --workdir=runs/stars \
    --config.loss.class_weights=balanced

As synthetic_rare.py, but that stars are one class and all else is the other
one. Makes its data.
"""

from ml_collections import config_dict

from configs import synthetic


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  config = synthetic.get_config(arg, name="synthetic_stars")
  if "contrast" in config:  # A key of class c must not be the likelier one.
    config.contrast.low_rank = 1
  return config
