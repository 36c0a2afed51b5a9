"""Cityscapes with UniMatch (V1): 186 to 1,488 labeled of 2,975 images.

  python main.py --config=configs/unimatch_cityscapes.py:744 \
    --workdir=runs/um_city_744

8 + 8 images of 801 px a step, ResNet-101 at output stride 16, OHEM, 240 epochs;
every pixel is taught, however unsure its label. Needs the dataset `cityscapes`
in data.data_dir and, for the published scores, ImageNet weights:
--config.model.pretrained=resnet101.npz (see README). UniMatch has lists of its
own; `lists=u2pl` takes U2PL's.

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
      **unimatch_common.NETWORK_V1,
      **unimatch_common.WEAK_VIEWS,
      **unimatch_common.CITYSCAPES,
      "data.crop_size": (801, 801),
      "optim.learning_rate": 0.005,
      "optim.factors.head": 1.0,
      "optim.weight_decay": 1e-4,
      "train.epochs": 240,
      "eval.windows": "cut",
      "eval.crop_size": (801, 801),
    },
    of_method={
      name: {"consistency.threshold": 0.0}
      for name in (unimatch_common.V1, "fixmatch")
    },
    default_method=unimatch_common.V1,
  )
  if lists == "unimatch":
    unimatch_common.use_own_lists(config)
  return config
