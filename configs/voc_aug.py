"""PASCAL VOC 2012 with SBD masks ("blender"): 662 to 5,291 labeled.

  python main.py --config=configs/voc_aug.py:1323 --workdir=runs/voc_aug_1323

Settings as in voc.py; the labeled lists hold SBD masks too.
Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import voc

SPLITS = ("1323", "662", "2646", "5291")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return voc.get_config(arg, splits=SPLITS)
