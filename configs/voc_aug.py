"""PASCAL VOC 2012 with SBD masks ("blender"): 662 to 5,291 labeled.

  python main.py --config=configs/voc_aug.py:1323 --workdir=runs/voc_aug_1323

Settings as in voc.py; the labeled lists hold SBD masks too. Published mIoU,
U2PL with cutmix (labels alone):
  662: 77.21 (67.87)   1323: 79.01 (71.55)
  2646: 79.30 (75.80)  5291: 80.50 (77.13)
"""

from ml_collections import config_dict

from configs import voc

SPLITS = ("1323", "662", "2646", "5291")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return voc.get_config(arg, splits=SPLITS)
