"""Seven classes of PASCAL VOC 2012, fine-tuned from ImageNet.

  python -m data_prep.folder --root=TREE --name=voc_animals --data_dir=data
  python -m data_prep.convert_torch_resnet \
    efficientnet-lite0-57934424.pth data/efficientnet_lite0.npz
  python main.py --config=configs/voc_animals_pretrained.py:53 \
    --workdir=runs/animals_pretrained

An EfficientNet-Lite0 at 225 px on 2 CPU cores. Scores measured here:
docs/results.md.
"""

from ml_collections import config_dict

from configs import common, voc_animals


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  config = common.base()
  common.use_efficientnet(config)
  config.model.pretrained = "data/efficientnet_lite0.npz"
  config.data.name = "voc_animals"
  config.data.batch_size_l = 4
  config.data.batch_size_u = 4
  config.data.crop_size = (225, 225)
  config.eval.crop_size = (257, 257)  # The whole image.
  config.optim.learning_rate = 0.003
  config.augment.probability = 1.0  # Every unlabelled batch is mixed.
  config.train.epochs = 3
  config.semi.supervised_epochs = 1
  config.contrast.bank_capacity = 4096
  config.contrast.bank_capacity_class0 = 4096
  config.contrast.max_keys_per_class = 256
  return common.finish(config, arg, splits=voc_animals.SPLITS)
