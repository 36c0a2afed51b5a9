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
  small_encoder(config)
  config.data.name = "camvid"
  config.eval.crop_size = (360, 480)  # The whole image.
  config.eval.every_epochs = 8
  config.train.epochs = 24
  config.semi.supervised_epochs = 8
  return common.finish(config, arg, splits=SPLITS)


def small_encoder(config: config_dict.ConfigDict) -> None:
  """Settings for training a small network from scratch on 2 CPU cores."""
  config.model.encoder = "resnet18"
  config.model.width = 16
  config.model.output_stride = 16
  config.model.multi_grid = False
  config.model.decoder_channels = 32
  config.model.low_level_channels = 16
  config.model.rep_channels = 32
  config.model.aspp_rates = (2, 4, 6)
  config.data.crop_size = (97, 97)
  config.data.scale_range = (0.5, 1.5)
  config.data.batch_size_l = 8
  config.data.batch_size_u = 8
  config.optim.learning_rate = 0.05
  config.optim.head_factor = 1.0
  config.optim.weight_decay = 5e-4
  config.augment.probability = 1.0
  config.contrast.bank_capacity = 4096
  config.contrast.bank_capacity_class0 = 4096
  config.contrast.max_keys_per_class = 256
