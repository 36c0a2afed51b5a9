"""PASCAL VOC 2012 with UniMatch (V1): 92 to 1,464, or 662 to 2,646 labeled.

  python main.py --config=configs/unimatch_voc.py:366 --workdir=runs/um_366

8 + 8 images of 321 px a step, ResNet-101 at output stride 16, 80 epochs. Needs
the dataset `voc` in data.data_dir and, for the published scores, ImageNet
weights: --config.model.pretrained=resnet101.npz (see README).

Lists of 92 to 1,464 images are those of U2PL. Of 662, 1,323 and 2,646 images
UniMatch has other ones; `lists=u2pl` takes U2PL's, with crops of 513 px.

Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import common, unimatch_common

CLASSIC = ("1464", "732", "366", "183", "92")
BLENDED = ("662", "1323", "2646")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  arg, lists = unimatch_common.take_lists(arg)
  split = common.parse_arg(arg, CLASSIC + BLENDED, unimatch_common.V1)["split"]
  is_blended = split in BLENDED
  side = 513 if is_blended and lists == "u2pl" else 321
  config = common.make_config(
    arg,
    splits=CLASSIC + BLENDED,
    settings={
      **unimatch_common.NETWORK_V1,
      **unimatch_common.WEAK_VIEWS,
      "data.name": "voc",
      "data.crop_size": (side, side),
      "data.batch_size_l": 8,
      "data.batch_size_u": 8,
      "optim.learning_rate": 0.001,
      "optim.factors.head": 10.0,
      "optim.weight_decay": 1e-4,
      "train.epochs": 80,
      "eval.protocol": "whole",
      "eval.crop_size": (side, side),
    },
    default_method=unimatch_common.V1,
  )
  if is_blended and lists == "unimatch":
    unimatch_common.use_own_lists(config)
  return config
