"""Generated scenes, 8 classes, 24 labeled images: the demonstration run.

  python main.py --config=configs/synthetic.py --workdir=runs/synthetic

Makes its data and takes a few minutes on 2 CPU cores. Scores measured here:
README.md.
"""

from ml_collections import config_dict

from configs import common

# What fills the scenes, and needs no pasting.
SURFACES = ("clouds", "meadow", "tiles", "planks")
_SMALL_BANK = {
  "contrast.bank_capacity": 2048,
  "contrast.bank_capacity_class0": 2048,
  "contrast.max_keys_per_class": 128,
}


def get_config(
  arg: str | None = None, name: str = "synthetic"
) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=("24",),
    settings={
      **common.SMALL_NETWORK,
      "decoder.aspp_rates": (1, 2, 3),
      "data.name": name,
      "data.crop_size": (65, 65),
      "data.scale_range": (0.75, 1.5),
      "optim.learning_rate": 0.1,
      "train.epochs": 24,
      "eval.crop_size": (97, 97),
      "eval.batch_size": 32,
      "eval.every_epochs": 4,
    },
    of_method={
      "u2pl": {
        "augment.probability": 1.0,
        **_SMALL_BANK,
        # Without pretrained weights the first pseudo-labels need a longer
        # start.
        "semi.supervised_epochs": 8,
      },
      "u2pl_ael": {
        **_SMALL_BANK,
        "semi.supervised_epochs": 8,
        "ael.confidence_momentum": 0.99,
      },
    },
    of_recipe={("u2pl_ael", "reference"): {"ael.excluded": SURFACES}},
  )
