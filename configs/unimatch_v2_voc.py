"""PASCAL VOC 2012 with UniMatch V2: 92 to 1,464 labeled.

  python main.py --config=configs/unimatch_v2_voc.py:366 --workdir=runs/um2_366

16 + 16 images of 518 px a step, DINOv2-Base with DPT, 60 epochs. Needs the
dataset `voc` in data.data_dir and DINOv2's weights: see docs/dinov2.md.

Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import common, unimatch_common

SPLITS = ("1464", "732", "366", "183", "92")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=SPLITS,
    settings={
      **unimatch_common.NETWORK_V2,
      **unimatch_common.WEAK_VIEWS,
      "data.name": "voc",
      "data.crop_size": (518, 518),
      "data.batch_size_l": 16,
      "data.batch_size_u": 16,
      "train.epochs": 60,
      "eval.protocol": "whole",
      "eval.crop_size": (518, 518),
    },
    default_method=unimatch_common.V2,
  )
