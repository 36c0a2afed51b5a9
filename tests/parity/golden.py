"""Recorded arrays: where they lie, what kinds there are, who checks them.

Each kind of file has a module KIND_test.py in this folder, which compares
this project with every file of that kind. Files are looked for in the folder
that the environment variable U2PL_GOLDEN_DIR names; without it in
tests/golden, compact copies, and beside the project in ../shared/weights and
../shared/golden, whole recordings, which replace copies of the same name.

Files named paper_* come from a float64 oracle of the paper's rules, all others
from running the authors' published PyTorch code
(github.com/Haochen-Wang409/U2PL, commit ab3d2be) in float32.
"""

import dataclasses
import fnmatch
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

_ROOT = pathlib.Path(__file__).parents[2]
_GIVEN = "U2PL_GOLDEN_DIR"

# For replays of minutes. Recordings that someone names are compared at once.
SLOW = [] if _GIVEN in os.environ else [pytest.mark.slow]


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of file.

  Attributes:
    pattern: of the names of its files.
    corrupt: patterns of array names; an error in the first array that one of
      them matches must be noticed, see corruption_test.py.
    but: pattern of names that belong to another kind nevertheless.
  """

  pattern: str
  corrupt: tuple[str, ...]
  but: str = ""

  def claims(self, name: str) -> bool:
    """Whether a file of this name is of this kind."""
    return fnmatch.fnmatchcase(name, self.pattern) and not fnmatch.fnmatchcase(
      name, self.but
    )


KINDS = {
  "model_eval": Kind(
    "model_eval_*.npz", ("pred", "aux", "rep_norm", "feat4_sample")
  ),
  "model_train": Kind(
    "model_train_*.npz",
    ("pred", "loss_total", "rm/*", "rv/*", "grad_l2_float64", "grad64/*"),
  ),
  "state_dict": Kind("state_dict_resnet*.json", ("*",)),
  "pretrained_encoder": Kind("pretrained_encoder_*.json", ("*",)),
  "interp": Kind(
    "interp*.npz", ("bilinear_*/out", "nearest_index/*", "nearest_mask/*/out")
  ),
  "loss_unsup": Kind(
    "loss_unsup_*.npz", ("loss", "threshold", "keep_mask_*", "grad_sample_*")
  ),
  "criterion": Kind(
    "criterion_*.npz",
    ("*/loss", "*/grad_pred_l2", "*/grad_aux_l2", "*/ohem_kept_pred"),
  ),
  "partition": Kind(
    "partition_*.npz",
    (
      "entropy_u_large",
      "epoch*/low_thresh",
      "epoch*/low_entropy_mask_large",
      "epoch*/high_mask_small",
      "epoch*/unsup_loss",
      "*_small_onehot",
    ),
  ),
  "contra_stat": Kind(
    "contra_stat_*.npz",
    (
      "loss_corrected_mean",
      "loss_original_mean",
      "loss_original_std",
    ),
  ),
  "contra": Kind(
    "contra_[!s]*.npz",
    (
      "call1/loss_corrected",
      "call1/grad_rep_corrected",
      "call1/loss_original",
      "call1/grad_rep_original",
      "call1/loss_corrected_paper_negatives",
      "call1/negative_count",
      "call1/negative_count_paper_*",
      "call1/anchor_count",
      "call1/low_valid_count",
      "call1/prototype",
      "call1/queue_length",
      "call1/queue_ptr",
      "queue_after_call?",
    ),
  ),
  "schedules": Kind(
    "schedules*.npz",
    (
      "*/lr_head_used",
      "*/alpha_t*",
      "*/drop_percent*",
      "*/decay_formula",
      "*/decay_measured",
    ),
  ),
  "optimizer": Kind("optimizer*.npz", ("step*/value/*", "lr")),
  "trajectory": Kind(
    "trajectory_*.npz",
    (
      "loss_sup",
      "student_param/*",
      "student_delta_norm/all",
      "teacher_delta_norm/all",
      "pseudo_label",
    ),
  ),
  "eval_iou": Kind("eval_iou*.npz", ("*iou",)),
  "eval_slide": Kind(
    "eval_slide*.npz", ("crop*/prediction", "whole*/prediction")
  ),
  "eval_multiscale": Kind("eval_multiscale_*.npz", ("gray*", "score_sum*")),
  "augmentation": Kind(
    "augmentation*.npz",
    (
      "box_mask_*",
      "classmix_n*_freq",
      "mix/*/data",
      "rand_resize/hist",
      "resize_fixed?/image_out",
      "crop?/label_out",
      "normalize/image_out",
    ),
  ),
  "paper_selection": Kind(
    "paper_selection_*.npz",
    (
      "entropy",
      "gamma_t",
      "reliable",
      "unreliable",
      "anchor",
      "negative",
      "prototype",
    ),
  ),
  "paper_info_nce": Kind("paper_info_nce_*.npz", ("loss", "per_class")),
  "paper_queue": Kind("paper_queue_*.npz", ("held*",)),
  "ael": Kind(
    "ael[!_]*npz",
    (
      "confidence/value",
      "confidence/criterion_after_*",
      "cons/*/loss",
      "cons/*/grad_l2",
      "cons/*/pixels_with_grad",
      "cons/*/loss_mean_400_seeds",
      "cons/*/keep_probability_by_predicted_class",
      "bank/probability_*",
      "bank/frequency_*",
      "update_bank/*/after",
      "copy_paste/image_out?",
      "copy_paste/label_out?",
      "init_cutmix/*",
      "generate_cutmix/*/top_rectangles_y0x0y1x1",
      "generate_cutmix/*/top_frequency",
    ),
  ),
  "ael_confidence": Kind(
    "ael_confidence_*.npz",
    (
      "step?/value",
      "step?/conf",
      "step?/copy_paste_class_probability",
      "step?/cutmix_class_probability",
      "step?/sampling_rate_*",
      "step?/paper_value",
      "step?/paper_seen",
      "step?/paper_conf",
      "step?/present_classes",
    ),
  ),
  "ael_consistency": Kind(
    "ael_consistency_*.npz",
    (
      "teacher_confidence",
      "*/sampling_rate",
      "*/keep",
      "*/loss",
      "*/grad_l2",
      "*/grad_sample",
      "*/paper_loss",
      "*/loss_ignored_out_of_normaliser",
      "all_ignored/loss",
    ),
  ),
  "ael_bank": Kind(
    "ael_bank_*.npz",
    (
      "step?/present",
      "step?/area",
      "draw/class_probability",
      "draw/probability",
      "draw/count",
    ),
  ),
  "ael_cutmix": Kind(
    "ael_cutmix_*.npz",
    (
      "*/component_area",
      "*/component_box",
      "*/qualifies",
      "*/random_box",
      "*/frequency_400",
      "component_map_pred?",
      "half_box/y0x0y1x1",
      "paste/mixed_image_q",
      "paste/entropy_every2",
      "paste/argmax_every2",
    ),
  ),
  "ael_copy_paste": Kind(
    "ael_copy_paste_*.npz",
    (
      "item?/image_6ch",
      "item?/label_stacked",
      "mix?/image",
      "mix?/label",
      "mix?/pasted_pixels",
      "draw/class_probability",
    ),
  ),
  "ael_step": Kind(
    "ael_step_*.npz",
    (
      "step?/mixed_labeled_image_q",
      "step?/mixed_label",
      "step?/copy_paste_class_probability",
      "step?/cutmix_class_probability",
      "step?/present_after",
      "step?/conf_after",
      "sampling_rate_step?",
      "step?/entropy_mixed",
      "step?/drop_percent",
      "step?/drop_threshold",
      "step?/pseudo_label_?",
      "step?/keep_?",
      "step?/cons_weight_sum_?",
      "step?/loss_*",
      "step?/grad_pred_l",
      "step?/grad_pred_u",
      "step?/grad_aux_l",
      "step?/*_threshold",
      "step?/label_l_small_multihot",
      "step?/label_u_small_onehot",
      "step?/low_mask_small",
      "step?/high_mask_small",
      "step?/prob_*_small*",
      "step?/new_keys",
      "step?/queue",
      "step?/queue_length",
      "step?/valid_classes",
      "step?/pairs_original",
      "step?/classes_corrected",
      "step?/loss_contra_*",
      "step?/grad_rep_*",
      "step?/box_is_random",
    ),
  ),
  "ael_trajectory": Kind(
    "ael_trajectory_*.npz",
    (
      "loss_sup",
      "loss_cons_l",
      "loss_cons_u",
      "loss_contra",
      "lr",
      "drop_percent",
      "conf",
      "present",
      "mixed_label",
      "pseudo_label_l",
      "pseudo_label_u",
      "student_param/*",
      "student_delta_norm/all",
      "teacher_delta_norm/all",
      "teacher_minus_student_norm/all",
      "student_bn/*mean",
      "teacher_bn/*var",
      "contra_new_keys",
      "contra_low_valid",
      "queue_length",
    ),
  ),
  "dpt_unimatch_v2": Kind(
    "dpt_unimatch_v2_steps*.npz",
    (
      "loss",
      "loss_s",
      "mask_ratio",
      "delta_norm/*",
      "teacher_delta_norm_before_step/*",
      "pseudo_label",
      "confidence_every4",
    ),
  ),
  "unimatch_loss": Kind(
    "unimatch_v?_loss_*.npz",
    (
      "step?/loss_*",
      "step?/loss_total",
      "step?/weight_s1",
      "step?/mask_ratio",
      "step?/pseudo_label",
      "step?/target2",
      "step?/confidence1",
      "step?/ignore?",
      "step?/kept1",
      "step?/denominator",
      "step?/image_s2_mixed_q",
      "step?/grad_x",
      "step?/grad_s2",
      "step?/grad_fp",
    ),
  ),
  "unimatch_fixmatch": Kind(
    "unimatch_v?_fixmatch_*.npz",
    (
      "step?/loss_s1",
      "step?/target1",
      "step?/ignore1",
      "step?/image_s1_mixed_q",
      "step?/grad_s1",
    ),
  ),
  "unimatch_cutmix": Kind(
    "unimatch_v?_cutmix_*.npz",
    ("step?/target?", "step?/confidence2", "step?/image_s1_mixed_q"),
  ),
  "unimatch_eval": Kind(
    "unimatch_v?_eval_*.npz",
    (
      "case0/pred?",
      "case1/pred?",
      "case?/network_input_hw",
      "case?/intersection",
      "case?/union",
      "case?/iou",
      "case?/miou",
    ),
  ),
  "unimatch_augmentation": Kind(
    "unimatch_v?_augmentation*.npz",
    (
      "item*/image",
      "item*/label",
      "item*/image_w",
      "item*/ignore",
      "item*/image_s1",
      "item*/image_s2",
      "item*/box1_y0x0y1x1",
      "item*/normalized",
      "op/contrast_*",
      "op/gray",
    ),
  ),
  "unimatch_complementary": Kind(
    "unimatch_v?_complementary_*.npz",
    ("n*/mask", "n*/untouched_images", "n*/dropped_level3"),
  ),
  "unimatch_ema": Kind("unimatch_v?_ema*.npz", ("teacher_*", "decay")),
  "unimatch_schedules": Kind("unimatch_v?_schedules*.npz", ("*/lr_used",)),
  "unimatch_perturbation": Kind(
    "unimatch_v1_perturbation*.npz",
    (
      "train/decoder_in_c?",
      "train/logits",
      "train/logits_fp",
      "eval/logits_fp",
      "train/bn/head.*.running_mean",
      "train/bn/backbone.*.running_var",
    ),
  ),
  "unimatch_trajectory": Kind(
    "unimatch_v?_trajectory_*.npz",
    (
      "loss_*",
      "loss_total",
      "lr",
      "mask_ratio",
      "pseudo_label",
      "confidence",
      "target2",
      "grad_l2/*",
      "student_param/*",
      "student_bn/*_mean",
      "teacher_param/*",
      "teacher_bn/*_var",
      "ema_decay",
      "float64/norm/*",
    ),
  ),
  "unimatch_model": Kind(
    "unimatch_v1_model_*.npz",
    (
      "eval/logits_every2",
      "eval/argmax",
      "eval/feat4_std",
      "train/logits_fp_every2",
      "train/loss_fp_rest",
      "train/rm/*",
      "train/rv/*",
      "train/float64/grad_l2",
      "train/grad/*",
    ),
  ),
  "unimatch_state_dict": Kind("unimatch_v1_state_dict_*.json", ("*",)),
  "dinov2_positions": Kind(
    "dinov2_pos_embed*.npz", ("grid*/offset/*", "grid*/register/*", "matrix*")
  ),
  "dinov2_tiny": Kind(
    "dinov2_tiny*.npz",
    (
      "*/tokens_in",
      "*/x_prenorm",
      "*/block0?",
      "*/cls",
      "*/patch",
      "*/reg",
      "[!f]*/loss",
      "[!f]*/grad/*",
      "float64/*/grad_l2/*",
      "norm_probe/norm",
    ),
  ),
  "dinov2_layers": Kind(
    "dinov2_vit*_layers*.npz",
    ("norm/*", "prenorm/*", "last2_reshaped/*", "unimatch_forward_*"),
  ),
  "dinov2": Kind(
    "dinov2_[!pt]*.npz",
    (
      "*/tokens_in",
      "*/x_prenorm",
      "*/block0?",
      "*/block_mean_std_absmax",
      "*/cls",
      "*/patch",
      "*/reg",
    ),
    but="dinov2_vit*_layers*.npz",
  ),
  "dpt_head": Kind(
    "dpt_head_*.npz",
    ("logits", "logits_upsampled", "part/resize_layers.0", "part/*refinenet1"),
  ),
  "dpt_model": Kind(
    "dpt_model_*.npz",
    (
      "logits_low",
      "logits",
      "argmax",
      "loss",
      "grad/*",
      "grad_sample/*",
      "grad_l2",
    ),
  ),
  "dpt_evaluate": Kind(
    "dpt_evaluate*.npz",
    (
      "original/*/scores",
      "sliding/*/scores",
      "*/pred",
      "*/intersection",
      "*/union",
      "*/target",
      "*/iou",
      "*/miou",
    ),
  ),
  "dpt_init": Kind("dpt_init*.npz", ("names", "statistics")),
  "dpt_supervised_steps": Kind(
    "dpt_supervised_steps*.npz",
    ("loss", "lr_encoder_head", "delta_norm/*", "step?/change/*"),
  ),
  "state_dict_dinov2": Kind("state_dict_dinov2_*.json", ("*",)),
  "state_dict_unimatch_v2": Kind("state_dict_unimatch_v2_*.json", ("*",)),
  "efficientnet": Kind("efficientnet-lite0-golden*.npz", ("block15_mean",)),
}

# Kinds whose recordings are spoilt in the slow set alone: long replays, or many
# arrays.
SLOW_KINDS = (
  "ael",
  "ael_step",
  "ael_trajectory",
  "dinov2",
  "dinov2_layers",
  "dinov2_tiny",
  "dpt_evaluate",
  "dpt_init",
  "dpt_model",
  "dpt_supervised_steps",
  "dpt_unimatch_v2",
  "trajectory",
  "unimatch_augmentation",
  "unimatch_eval",
  "unimatch_loss",
  "unimatch_model",
  "unimatch_perturbation",
  "unimatch_state_dict",
  "unimatch_trajectory",
)


def folders() -> list[pathlib.Path]:
  """Where recordings are looked for, the later ones first in rank."""
  given = os.environ.get(_GIVEN)
  if given:
    return [pathlib.Path(given)]
  shared = _ROOT.parent / "shared"
  default = _ROOT / "tests" / "golden", shared / "weights", shared / "golden"
  return [folder for folder in default if folder.is_dir()]


def recordings() -> dict[str, pathlib.Path]:
  """All recordings by file name."""
  return {
    path.name: path
    for folder in folders()
    for path in sorted(folder.iterdir())
    if path.suffix in (".npz", ".json")
  }


def find(kind: str) -> list[pathlib.Path]:
  """The recordings of one kind."""
  return [
    path
    for name, path in sorted(recordings().items())
    if KINDS[kind].claims(name)
  ]


def claims(name: str) -> list[str]:
  """The patterns that a recording's file name matches; there must be one."""
  return [kind.pattern for kind in KINDS.values() if kind.claims(name)]


def every_file(kind: str) -> pytest.MarkDecorator:
  """Parametrizes a test over `path`, every recording of a kind."""
  cases = [pytest.param(path, id=path.stem) for path in find(kind)]
  if not cases:
    places = ", ".join(map(str, folders()))
    reason = f"no {KINDS[kind].pattern} in {places}"
    cases = [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
  return pytest.mark.parametrize("path", cases)


def every_file_but(kind: str, slow: tuple[str, ...]) -> pytest.MarkDecorator:
  """`every_file`; those whose names hold one of the words are slow."""
  mark = every_file(kind)
  cases = [
    pytest.param(*case.values, id=case.id, marks=SLOW)
    if case.id and any(word in case.id for word in slow)
    else case
    for case in mark.args[1]
  ]
  return pytest.mark.parametrize("path", cases)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
  """Largest difference in standard deviations of what is expected."""
  assert np.shape(actual) == expected.shape
  return float(np.max(np.abs(actual - expected)) / np.std(expected))


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays of a recording."""
  with np.load(path) as arrays:
    return dict(arrays)


def channels_last(array: np.ndarray) -> np.ndarray:
  """[B, C, H, W] to [B, H, W, C]."""
  return np.moveaxis(array, 1, -1)


def unpack_mask(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Bool array of `shape` from `numpy.packbits` of it."""
  return np.unpackbits(bits)[: np.prod(shape)].reshape(shape).astype(bool)


def once_per_input(function: Callable[..., Any]) -> Callable[..., Any]:
  """Remembers results by the content of the arrays and strings given.

  Several tests compare with one run of a network, and a spoilt recording of
  the same inputs needs no run of its own.
  """
  results = {}

  def digest(value):
    array = np.asarray(value)
    content = hashlib.sha1(array.tobytes()).hexdigest()
    return array.shape, str(array.dtype), content

  @functools.wraps(function)
  def remembered(*arguments):
    key = tuple(map(digest, arguments))
    if key not in results:
      results[key] = function(*arguments)
    return results[key]

  return remembered
