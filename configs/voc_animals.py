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
  config = common.base()
  common.use_small_network(config)
  config.data.name = "voc_animals"
  config.data.crop_size = (97, 97)
  config.data.scale_range = (0.5, 1.5)
  config.optim.learning_rate = 0.05
  config.eval.crop_size = (257, 257)  # The whole image.
  config.train.epochs = 4
  config.semi.supervised_epochs = 2
  return common.finish(config, arg, splits=SPLITS)
