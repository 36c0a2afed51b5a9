"""The labels of Cityscapes: ids in its files, and ids to train on.

Reference: cityscapesscripts/helpers/labels.py of mcordts/cityscapesScripts.
"""

import numpy as np

import u2pl_jax

# Name, id in *_labelIds.png, train id, RGB color. 255 is ignored. The id -1
# is never drawn: a license plate counts as the car it is on.
LABELS = (
  ("unlabeled", 0, 255, (0, 0, 0)),
  ("ego vehicle", 1, 255, (0, 0, 0)),
  ("rectification border", 2, 255, (0, 0, 0)),
  ("out of roi", 3, 255, (0, 0, 0)),
  ("static", 4, 255, (0, 0, 0)),
  ("dynamic", 5, 255, (111, 74, 0)),
  ("ground", 6, 255, (81, 0, 81)),
  ("road", 7, 0, (128, 64, 128)),
  ("sidewalk", 8, 1, (244, 35, 232)),
  ("parking", 9, 255, (250, 170, 160)),
  ("rail track", 10, 255, (230, 150, 140)),
  ("building", 11, 2, (70, 70, 70)),
  ("wall", 12, 3, (102, 102, 156)),
  ("fence", 13, 4, (190, 153, 153)),
  ("guard rail", 14, 255, (180, 165, 180)),
  ("bridge", 15, 255, (150, 100, 100)),
  ("tunnel", 16, 255, (150, 120, 90)),
  ("pole", 17, 5, (153, 153, 153)),
  ("polegroup", 18, 255, (153, 153, 153)),
  ("traffic light", 19, 6, (250, 170, 30)),
  ("traffic sign", 20, 7, (220, 220, 0)),
  ("vegetation", 21, 8, (107, 142, 35)),
  ("terrain", 22, 9, (152, 251, 152)),
  ("sky", 23, 10, (70, 130, 180)),
  ("person", 24, 11, (220, 20, 60)),
  ("rider", 25, 12, (255, 0, 0)),
  ("car", 26, 13, (0, 0, 142)),
  ("truck", 27, 14, (0, 0, 70)),
  ("bus", 28, 15, (0, 60, 100)),
  ("caravan", 29, 255, (0, 0, 90)),
  ("trailer", 30, 255, (0, 0, 110)),
  ("train", 31, 16, (0, 80, 100)),
  ("motorcycle", 32, 17, (0, 0, 230)),
  ("bicycle", 33, 18, (119, 11, 32)),
  ("license plate", -1, 255, (0, 0, 142)),
)
_TRAINED = sorted(
  (train_id, name, color)
  for name, _, train_id, color in LABELS
  if train_id != u2pl_jax.IGNORE_LABEL
)
CLASS_NAMES = tuple(name for _, name, _ in _TRAINED)
PALETTE = tuple(color for _, _, color in _TRAINED)
NUM_IDS = 34

_TRAIN_IDS = np.full(NUM_IDS, u2pl_jax.IGNORE_LABEL, np.uint8)
for _, _id, _train_id, _ in LABELS:
  if _id >= 0:
    _TRAIN_IDS[_id] = _train_id
_LABEL_IDS = np.zeros(256, np.uint8)
for _, _id, _train_id, _ in LABELS:
  if _train_id != u2pl_jax.IGNORE_LABEL:
    _LABEL_IDS[_train_id] = _id


def to_train_ids(label_ids: np.ndarray) -> np.ndarray:
  """Maps the ids of *_labelIds.png to 19 train ids and 255.

  Args:
    label_ids: [H, W] uint8, each below `NUM_IDS`.

  Returns:
    [H, W] uint8.
  """
  return _TRAIN_IDS[label_ids]


def to_label_ids(train_ids: np.ndarray) -> np.ndarray:
  """Maps train ids to the ids that the official evaluation wants.

  Args:
    train_ids: [H, W], each below 19 or 255, which becomes 0 ("unlabeled").

  Returns:
    [H, W] uint8.
  """
  return _LABEL_IDS[train_ids]
