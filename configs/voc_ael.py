"""PASCAL VOC 2012 with U2PL and AEL: 92 to 1,464 labeled.

  python main.py --config=configs/voc_ael.py:366,recipe=reference \
    --workdir=runs/voc_ael_366

With AEL's own VOC settings: 80 epochs of 513 px, one class pasted into an
image, components and presence from 3 % of the pixels on, pseudo-labels below
0.7 left out, everything else as for Cityscapes (see cityscapes_ael.py, also
for why 80 epochs there are 40 here). Its background is never pasted. There is
no published figure of U2PL with AEL for VOC.
"""

from ml_collections import config_dict

from configs import cityscapes_ael, common, voc

_METHOD = cityscapes_ael.METHOD
_SHARED = {"ael.present_area": 0.03}


def get_config(
  arg: str | None = None, splits: tuple[str, ...] = voc.SPLITS
) -> config_dict.ConfigDict:
  return common.make_config(
    arg,
    splits=splits,
    default_method=_METHOD,
    settings={
      "data.name": "voc",
      "data.batch_size_u": 8,
      "train.epochs": 40,
      "decoder.aux_head": True,
      **cityscapes_ael.REFERENCE_OPTIMIZER,
    },
    of_method={
      _METHOD: {
        "ael.copy_paste_draws": 1,
        "ael.component_area": 0.03,
        "ael.confidence_threshold": 0.7,
        "ael.threshold_on": "both",
        "ael.excluded": ("background",),
      }
    },
    of_recipe={(_METHOD, "paper"): _SHARED, (_METHOD, "reference"): _SHARED},
    published_gpus=8,
  )
