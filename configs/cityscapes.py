"""Cityscapes: 186 to 1,488 labeled of 2,975 images.

  python main.py --config=configs/cityscapes.py:372 --workdir=runs/city_372

16 + 16 images of 769 px a step, ResNet-101 with the auxiliary head, OHEM, 200
epochs. Needs the dataset `cityscapes` in data.data_dir and, for the published
scores, ImageNet weights: --config.model.pretrained=resnet101.npz (see README).

Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import common

SPLITS = ("744", "186", "372", "1488")
SETTINGS = {
  "data.name": "cityscapes",
  "data.crop_size": (769, 769),
  "eval.crop_size": (769, 769),
  "eval.batch_size": 8,
  "decoder.aux_head": True,
  "loss.kind": "ohem",
  "optim.learning_rate": 0.01,
  "optim.factors.head": 1.0,
  "optim.weight_decay": 5e-4,
  "train.epochs": 200,
}
# Classes that the published code of AEL never pastes.
COMMON = ("road", "sidewalk", "building", "vegetation", "sky")


def get_config(
  arg: str | None = None, splits: tuple[str, ...] = SPLITS
) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=splits,
    settings=SETTINGS,
    of_method={"u2pl": {"semi.supervised_epochs": 0}},
    of_recipe={("u2pl_ael", "reference"): {"ael.excluded": COMMON}},
    published_gpus=8,
  )
