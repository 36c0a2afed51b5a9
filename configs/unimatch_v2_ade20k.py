"""ADE20K with UniMatch V2: 316 to 5,052 labeled of 20,210 images.

  python main.py --config=configs/unimatch_v2_ade20k.py:2526 \
    --workdir=runs/um2_ade_2526

8 + 8 images of 518 px a step, DINOv2-Base with DPT, 60 epochs, 150 classes.
Needs the dataset `ade20k` in data.data_dir, with UniMatch's lists as its
splits, and DINOv2's weights: see docs/datasets.md and docs/dinov2.md.

Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import common, unimatch_common

SPLITS = ("2526", "316", "631", "1263", "5052")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=SPLITS,
    settings={
      **unimatch_common.NETWORK_V2,
      **unimatch_common.WEAK_VIEWS,
      "data.name": "ade20k",
      "data.crop_size": (518, 518),
      "data.batch_size_l": 8,
      "data.batch_size_u": 8,
      "train.epochs": 60,
      "eval.protocol": "whole",
      "eval.crop_size": (518, 518),
    },
    default_method=unimatch_common.V2,
  )
