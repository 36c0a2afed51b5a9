"""Cityscapes with U2PL and AEL: 186 to 1,488 labeled of 2,975 images.

  python main.py --config=configs/cityscapes_ael.py:372,recipe=reference \
    --workdir=runs/city_ael_372

16 labeled and 8 mixed images of 769 px a step, ResNet-101, OHEM, auxiliary
head. Needs the dataset `cityscapes` in data.data_dir and, for the published
scores, ImageNet weights: --config.model.pretrained=resnet101.npz (see README).

The published code divides its losses by the number of GPUs, which then average
again, and so does not take steps of the rate that it names. Here losses are
means of the global batch, and `reference` has the rate, the weight decay and
the weight of the contrastive loss with which they make the same steps. It reads
two unlabeled images for each mixed one and keeps one by chance: an epoch there
is half a pass over the list, and 200 of them are 100 here. `paper` has what
AEL's paper says: 16 + 16 images, 18,000 steps.

Published scores: docs/results.md#published-results.
"""

from ml_collections import config_dict

from configs import cityscapes, common

METHOD = "u2pl_ael"
SPLITS = ("186", "372", "744", "1488")
# An eighth of the rates and eight times the decay of the published code.
REFERENCE_OPTIMIZER = {
  "optim.learning_rate": 0.00125,
  "optim.factors.head": 10.0,
  "optim.weight_decay": 8e-4,
}
# Epochs that come nearest to 18,000 steps of 16 unlabeled images.
_PAPER_EPOCHS = {"186": 103, "372": 111, "744": 129, "1488": 196}


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  words = common.parse_arg(arg, SPLITS, METHOD)
  return common.make_config(
    arg,
    splits=SPLITS,
    default_method=METHOD,
    settings={
      **cityscapes.SETTINGS,
      "data.batch_size_u": 8,
      "train.epochs": 100,
      **REFERENCE_OPTIMIZER,
    },
    of_recipe={
      (METHOD, "reference"): {"ael.excluded": cityscapes.COMMON},
      (METHOD, "paper"): {
        "data.batch_size_u": 16,
        "decoder.aux_head": False,
        "optim.learning_rate": 0.01,
        "optim.factors.head": 1.0,
        "optim.weight_decay": 5e-4,
        "train.epochs": _PAPER_EPOCHS[words["split"]],
      },
    },
    published_gpus=8,
  )
