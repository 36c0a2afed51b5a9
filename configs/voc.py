"""PASCAL VOC 2012, official masks only ("classic"): 92 to 1,464 labeled.

  python main.py --config=configs/voc.py:366 --workdir=runs/voc_366

16 + 16 images of 513 px a step, ResNet-101, 80 epochs. Needs the dataset
`voc` in data.data_dir and, for the published scores, ImageNet weights:
--config.model.pretrained=resnet101.npz (see README).

Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import common

SPLITS = ("1464", "732", "366", "183", "92")


def get_config(
  arg: str | None = None, splits: tuple[str, ...] = SPLITS
) -> config_dict.ConfigDict:
  # The published VOC settings are the defaults.
  return common.make_config(arg, splits=splits, settings={"data.name": "voc"})
