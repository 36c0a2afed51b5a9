"""Seven classes of PASCAL VOC 2012 at 256 px: a small real benchmark.

  python -m data_prep.folder --root=TREE --name=voc_animals --data_dir=data
  python main.py --config=configs/voc_animals.py:53 --workdir=runs/animals_53

A ResNet-18 of a quarter of the width, from scratch, in minutes on 2 CPU cores.
Scores measured here: docs/results.md.
"""

from ml_collections import config_dict

from configs import common

SPLITS = ("53", "27", "107", "213", "426")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=SPLITS,
    settings={
      **common.SMALL_NETWORK,
      "data.name": "voc_animals",
      "data.crop_size": (97, 97),
      "data.scale_range": (0.5, 1.5),
      "optim.learning_rate": 0.05,
      "eval.crop_size": (257, 257),  # The whole image.
      "train.epochs": 4,
    },
    of_method={
      "u2pl": {**common.SMALL_U2PL, "semi.supervised_epochs": 2},
      "u2pl_ael": {**common.SMALL_BANK, "semi.supervised_epochs": 2},
    },
  )
