"""Generated scenes, 8 classes, 24 labelled images: the demonstration run.

  python main.py --config=configs/synthetic.py --workdir=runs/synthetic

Makes its data and takes a few minutes on 2 CPU cores. Scores measured here:
README.md.
"""

from ml_collections import config_dict

from configs import common


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  config = common.base()
  common.use_small_network(config)
  config.model.aspp_rates = (1, 2, 3)
  config.data.name = "synthetic"
  config.data.crop_size = (65, 65)
  config.data.scale_range = (0.75, 1.5)
  config.optim.learning_rate = 0.1
  config.contrast.bank_capacity = 2048
  config.contrast.bank_capacity_class0 = 2048
  config.contrast.max_keys_per_class = 128
  # Without pretrained weights the first pseudo-labels need a longer start.
  config.train.epochs = 24
  config.semi.supervised_epochs = 8
  config.eval.crop_size = (97, 97)
  config.eval.batch_size = 32
  config.eval.every_epochs = 4
  return common.finish(config, arg, splits=("24",))
