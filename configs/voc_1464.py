"""PASCAL VOC 2012 with all 1,464 finely labeled images.

  python main.py --config=configs/voc_1464.py --workdir=runs/voc_1464

See voc.py. Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import voc


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return voc.get_config(arg, splits=("1464",))
