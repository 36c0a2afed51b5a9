"""CamVid, 11 classes, fine-tuned from ImageNet.

  python -m data_prep.folder --root=CAMVID_TREE --name=camvid --data_dir=data
  python -m data_prep.convert_torch_resnet \
    efficientnet-lite0-57934424.pth data/efficientnet_lite0.npz
  python main.py --config=configs/camvid_pretrained.py:1_8 \
    --workdir=runs/camvid_pretrained

An EfficientNet-Lite0 at 225 px on 2 CPU cores.
"""

from ml_collections import config_dict

from configs import camvid, common


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=camvid.SPLITS,
    settings={
      **common.EFFICIENTNET,
      "model.pretrained": "data/efficientnet_lite0.npz",
      "data.name": "camvid",
      "data.batch_size_l": 4,
      "data.batch_size_u": 4,
      "data.crop_size": (225, 225),
      "data.scale_range": (0.5, 1.5),
      "eval.crop_size": (360, 480),  # The whole image.
      "eval.every_epochs": 2,
      "optim.learning_rate": 0.003,
      "train.epochs": 10,
    },
    of_method={
      "u2pl": {**common.SMALL_U2PL, "semi.supervised_epochs": 2},
      "u2pl_ael": {
        **common.SMALL_BANK,
        "semi.supervised_epochs": 2,
        "ael.confidence_momentum": 0.99,
      },
    },
    of_recipe={("u2pl_ael", "reference"): {"ael.excluded": camvid.COMMON}},
  )
