"""CamVid, 11 classes, 480x360: a small real benchmark for a small machine.

  python -m data_prep.folder --root=CAMVID_TREE --name=camvid --data_dir=data
  python main.py --config=configs/camvid.py:1_8 --workdir=runs/camvid_1_8

A ResNet-18 of a quarter of the width, from scratch, in minutes on 2 CPU cores.
Scores measured here: docs/results.md.
"""

from ml_collections import config_dict

from configs import common

SPLITS = ("1_8", "1_16", "1_4", "1_2")


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  config = common.base()
  common.use_small_network(config)
  config.data.name = "camvid"
  config.data.crop_size = (97, 97)
  config.data.scale_range = (0.5, 1.5)
  config.optim.learning_rate = 0.05
  config.eval.crop_size = (360, 480)  # The whole image.
  config.eval.every_epochs = 8
  config.train.epochs = 24
  config.semi.supervised_epochs = 8
  return common.finish(config, arg, splits=SPLITS)
