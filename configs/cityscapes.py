"""Cityscapes: 186 to 1,488 labelled of 2,975 images.

  python main.py --config=configs/cityscapes.py:372 --workdir=runs/city_372

16 + 16 images of 769 px a step, ResNet-101 with the auxiliary head, OHEM, 200
epochs. Needs the dataset `cityscapes` in data.data_dir and, for the published
scores, ImageNet weights: --config.model.pretrained=resnet101.npz (see README).

Published mIoU, U2PL with cutmix (labels alone), sliding window:
  186: 70.30 (65.74)  372: 74.37 (72.53)
  744: 76.47 (74.43)  1488: 79.05 (77.83)
"""

from ml_collections import config_dict

from configs import common

SPLITS = ("744", "186", "372", "1488")
GPUS = 8


def settings() -> config_dict.ConfigDict:
  """The published Cityscapes settings."""
  config = common.base()
  config.data.name = "cityscapes"
  config.data.crop_size = (769, 769)
  config.eval.crop_size = (769, 769)
  config.eval.batch_size = 8
  config.model.aux_head = True
  config.loss.kind = "ohem"
  config.optim.learning_rate = 0.01
  config.optim.head_factor = 1.0
  config.optim.weight_decay = 5e-4
  config.train.epochs = 200
  config.semi.supervised_epochs = 0
  return config


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return common.finish(settings(), arg, splits=SPLITS, reference_gpus=GPUS)
