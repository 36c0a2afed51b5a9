"""Cityscapes with 744 labeled images.

  python main.py --config=configs/cityscapes_744.py --workdir=runs/city_744

Published mIoU: 76.47 (U2PL with cutmix), 74.43 (labels alone). See
cityscapes.py.
"""

from ml_collections import config_dict

from configs import cityscapes


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return cityscapes.get_config(arg, splits=("744",))
