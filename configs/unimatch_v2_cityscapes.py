"""Cityscapes with UniMatch V2: 186 to 1,488 labeled of 2,975 images.

  python main.py --config=configs/unimatch_v2_cityscapes.py:744 \
    --workdir=runs/um2_city_744

8 + 8 images of 798 px a step, DINOv2-Base with DPT, OHEM, 180 epochs. Needs the
dataset `cityscapes` in data.data_dir and DINOv2's weights: see docs/dinov2.md.
UniMatch has lists of its own; `lists=u2pl` takes U2PL's.

Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import common, unimatch_common

SPLITS = ("744", "186", "372", "1488")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  arg, lists = unimatch_common.take_lists(arg)
  config = common.make_config(
    arg,
    splits=SPLITS,
    settings={
      **unimatch_common.NETWORK_V2,
      **unimatch_common.WEAK_VIEWS,
      **unimatch_common.CITYSCAPES,
      "data.crop_size": (798, 798),
      "train.epochs": 180,
      "eval.windows": "shifted",
      "eval.crop_size": (798, 798),
    },
    default_method=unimatch_common.V2,
  )
  if lists == "unimatch":
    unimatch_common.use_own_lists(config)
  return config
