"""Cityscapes with 744 labeled images.

  python main.py --config=configs/cityscapes_744.py --workdir=runs/city_744

See cityscapes.py. Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import cityscapes


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return cityscapes.get_config(arg, splits=("744",))
