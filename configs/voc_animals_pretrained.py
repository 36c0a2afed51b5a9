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
  return common.make_config(
    arg,
    splits=voc_animals.SPLITS,
    settings={
      **common.EFFICIENTNET,
      "model.pretrained": "data/efficientnet_lite0.npz",
      "data.name": "voc_animals",
      "data.batch_size_l": 4,
      "data.batch_size_u": 4,
      "data.crop_size": (225, 225),
      "eval.crop_size": (257, 257),  # The whole image.
      "optim.learning_rate": 0.003,
      "train.epochs": 3,
    },
    of_method={
      "u2pl": {**common.SMALL_U2PL, "semi.supervised_epochs": 1},
      "u2pl_ael": {**common.SMALL_BANK, "semi.supervised_epochs": 1},
    },
  )
