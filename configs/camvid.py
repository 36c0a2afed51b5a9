"""CamVid, 11 classes, 480x360: a small real benchmark for a small machine.

  python -m data_prep.folder --root=CAMVID_TREE --name=camvid --data_dir=data
  python main.py --config=configs/camvid.py:1_8 --workdir=runs/camvid_1_8

A ResNet-18 of a quarter of the width, from scratch, in minutes on 2 CPU cores.
Scores measured here: docs/results.md.
"""

from ml_collections import config_dict

from configs import common

SPLITS = ("1_8", "1_16", "1_4", "1_2")
# Classes that nearly every image shows, and that need no pasting.
COMMON = ("Sky", "Building", "Road", "Pavement", "Tree")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=SPLITS,
    settings={
      **common.SMALL_NETWORK,
      "data.name": "camvid",
      "data.crop_size": (97, 97),
      "data.scale_range": (0.5, 1.5),
      "optim.learning_rate": 0.05,
      "eval.crop_size": (360, 480),  # The whole image.
      "eval.every_epochs": 8,
      "train.epochs": 24,
    },
    of_method={
      "u2pl": {**common.SMALL_U2PL, "semi.supervised_epochs": 8},
      "u2pl_ael": {
        **common.SMALL_BANK,
        "semi.supervised_epochs": 8,
        "ael.confidence_momentum": 0.99,
      },
    },
    of_recipe={("u2pl_ael", "reference"): {"ael.excluded": COMMON}},
  )
