"""Every config key once (default, unit, allowed values), and the recipes.

The defaults are the published PASCAL VOC settings with `recipe=paper`. A
config file starts from `base`, says what differs and ends with `finish`,
which applies the argument after the colon:

  --config=configs/camvid.py:1_8,method=suponly,recipe=reference

`recipe` is a preset over separate keys (`RECIPES`), each of which can still be
set by itself, e.g. --config.contrast.num_anchors=128. Images are uint8 RGB,
sizes are in pixels, durations in epochs of the unlabelled list.
"""

from collections.abc import Sequence

from ml_collections import config_dict

METHODS = ("u2pl", "suponly")

# Every difference between the paper and the published code, one key each.
RECIPES = {
  "paper": {
    # "below_unreliable": all pixels with H <= gamma_t may be anchors;
    # "lowest": only the surest alpha_t percent, hence none at the end.
    "semi.reliable": "below_unreliable",
    # Dropout in the teacher's train-mode forward pass.
    "semi.teacher_dropout": False,
    # "student": the teacher starts as a copy; "independent": on its own.
    "semi.teacher_init": "student",
    # "average" from the first semi step; "copy" the student for an epoch.
    "semi.teacher_first_epoch": "average",
    # Which pixels form z+: "anchors" or all "reliable" ones of the class.
    "contrast.positive": "anchors",
    # Whether labelled pixels of another class give keys.
    "contrast.labeled_negatives": True,
    # Whether unlabelled keys of class c must have the pseudo-label c.
    "contrast.own_pseudo_label": False,
    # 1: each pixel counts as its label's class. In the published code those of
    # each GPU's images are stacked onto its first image, by a slip in
    # `label_onehot`; there this is the labelled images a GPU had.
    "contrast.label_stack": 1,
    # Only pixels with p(c) below it are keys; above 1 for no limit.
    "contrast.max_negative_prob": 2.0,
    # The sum over classes is divided by the "contributing" or all "present".
    "contrast.divide_by": "contributing",
    "contrast.num_anchors": 50,  # M, for each class.
    "contrast.num_negatives": 256,  # N, for each anchor.
    "contrast.weight": 0.1,  # lambda_c; 0 leaves the contrastive loss out.
    # Label of the padding around images smaller than the crop.
    "data.pad_label": 255,
  },
  "reference": {
    "semi.reliable": "lowest",
    "semi.teacher_dropout": True,
    "semi.teacher_init": "independent",
    "semi.teacher_first_epoch": "copy",
    "contrast.positive": "reliable",
    "contrast.labeled_negatives": False,
    "contrast.own_pseudo_label": True,
    "contrast.label_stack": 4,  # 16 images on 4 GPUs; 2 on 8 GPUs.
    "contrast.max_negative_prob": 1.0,
    "contrast.divide_by": "present",
    "contrast.num_anchors": 256,
    "contrast.num_negatives": 50,
    # 1 in the code, divided by its number of GPUs (4 on VOC, 8 on Cityscapes).
    "contrast.weight": 0.25,
    "data.pad_label": 0,
  },
}


def base() -> config_dict.ConfigDict:
  """A config with every key, with the published VOC settings."""
  config = config_dict.ConfigDict()
  config.method = "u2pl"  # "u2pl" or "suponly"; set by the argument.
  config.recipe = "paper"  # "paper" or "reference"; set by the argument.
  config.seed = 0  # Fixes everything random.
  # Devices (data, fsdp): batches are split over both, the state over fsdp.
  # -1 for all there are.
  config.mesh = (-1, 1)
  section = config_dict.ConfigDict

  config.model = section()
  # "resnet18", "resnet34", "resnet50", "resnet101" or "efficientnet_lite0".
  config.model.encoder = "resnet101"
  # "deep": three 3x3 convs; "conv7": one 7x7; "conv3": EfficientNet's own.
  config.model.stem = "deep"
  # File of data_prep.convert_torch_resnet that student and teacher start from.
  config.model.pretrained = ""
  config.model.width = 64  # Base width of a ResNet, channels.
  config.model.output_stride = 8  # 8, 16 or 32.
  config.model.multi_grid = True  # Layer 4's dilations times 2, 2, 4.
  config.model.decoder_channels = 256
  config.model.low_level_channels = 256
  config.model.rep_channels = 256  # D; 0 leaves the head out.
  config.model.aux_head = False
  config.model.aspp_rates = (12, 24, 36)  # Pixels of layer 4.
  config.model.dropout_rate = 0.1
  config.model.dtype = "float32"  # Of the computation; or "bfloat16".
  # Compute the encoder's blocks again in the backward pass: less memory.
  config.model.remat = False

  config.data = section()
  config.data.name = ""  # Dataset under data_dir, made by data_prep.
  config.data.split = ""  # Its list of labelled and unlabelled images.
  config.data.data_dir = "data"
  config.data.batch_size_l = 16  # Labelled images a step, all devices.
  config.data.batch_size_u = 16  # Unlabelled images a step, all devices.
  config.data.crop_size = (513, 513)  # Height, width.
  config.data.scale_range = (0.5, 2.0)  # Half the draws on either side of 1.
  config.data.flip_prob = 0.5
  config.data.pad_label = 255  # Set by the recipe.
  config.data.num_workers = 0  # Reading threads; 0 for one a core.

  config.augment = section()  # Strong augmentation of unlabelled images.
  config.augment.mode = "cutmix"  # "none", "cutout", "cutmix", "classmix".
  config.augment.probability = 0.5  # For the whole step.

  config.loss = section()  # Supervised loss.
  config.loss.kind = "ce"  # "ce" or "ohem".
  config.loss.ohem_threshold = 0.7
  config.loss.ohem_min_kept = 100_000  # Pixels of the global batch.
  config.loss.aux_weight = 0.4  # Where the model has the auxiliary head.

  config.optim = section()
  config.optim.learning_rate = 0.001  # Of the encoder, at the start.
  # Whether that is for 16 labelled images a step, and others scale it.
  config.optim.lr_per_16 = False
  config.optim.head_factor = 10.0  # Times that for everything else.
  config.optim.power = 0.9  # Of the poly schedule.
  config.optim.momentum = 0.9
  config.optim.weight_decay = 1e-4  # Coupled, on every parameter.
  config.optim.accumulate_steps = 1  # Parts that a batch is computed in.

  config.train = section()
  config.train.epochs = 80
  config.train.log_every_steps = 50
  # So many steps in a row with NaN or Inf, none applied, end the run.
  config.train.max_bad_steps = 10

  config.semi = section()
  config.semi.supervised_epochs = 1  # At the start, labelled images alone.
  config.semi.schedule_by = "epoch"  # Percentages move by "epoch" or "step".
  config.semi.drop_percent = 80.0  # At the start; rises to 100.
  config.semi.unreliable_percent = 20.0  # alpha_0; falls to 0.
  config.semi.unsupervised_weight = 1.0
  config.semi.reliable = ""  # Set by the recipe, see RECIPES.
  config.semi.teacher_dropout = False  # Set by the recipe.
  config.semi.teacher_init = ""  # Set by the recipe.
  config.semi.teacher_first_epoch = ""  # Set by the recipe.
  # "forward": the teacher's own forward pass updates its BN statistics;
  # "ema": they are averaged like the parameters.
  config.semi.teacher_batch_stats = "forward"
  config.semi.ema_decay = 0.99  # Largest decay of the teacher.

  config.contrast = section()
  config.contrast.weight = 0.0  # Set by the recipe, as are the next eight.
  config.contrast.num_anchors = 0
  config.contrast.num_negatives = 0
  config.contrast.positive = ""
  config.contrast.labeled_negatives = True
  config.contrast.own_pseudo_label = False
  config.contrast.label_stack = 1
  config.contrast.max_negative_prob = 0.0
  config.contrast.divide_by = ""
  config.contrast.temperature = 0.5  # tau
  config.contrast.min_anchor_prob = 0.3  # delta_p
  config.contrast.low_rank = 3  # r_l, below the number of classes.
  config.contrast.high_rank = 20  # r_h, clipped to the number of classes.
  config.contrast.bank_capacity = 30_000  # Keys of each class.
  config.contrast.bank_capacity_class0 = 50_000  # Of class 0, the background.
  config.contrast.bank_dtype = "float32"  # Or "bfloat16", half the memory.
  config.contrast.max_keys_per_class = 1024  # Enter the bank in one step.

  config.eval = section()
  # "crop": the centre; "whole": images at their own size; "slide": windows.
  config.eval.protocol = "crop"
  config.eval.crop_size = (513, 513)  # Of the centre crop or the windows.
  config.eval.scales = (1.0,)  # Images are seen at each; logits are averaged.
  config.eval.flip = False  # Also mirrored.
  config.eval.base_size = 0  # Long side at scale 1, pixels; 0: the image's own.
  config.eval.stride_rate = 2 / 3  # Stride of windows over their side.
  config.eval.max_shapes = 8  # "whole", "slide": images are padded to so many.
  config.eval.every_epochs = 1
  config.eval.batch_size = 16  # Images, all devices.
  config.eval.num_images = 4  # Shown in TensorBoard.

  config.checkpoint = section()
  config.checkpoint.every_steps = 0  # Between evaluations too; 0 for not.
  config.checkpoint.keep_last = 2  # Beside the best one.
  return config


def use_small_network(config: config_dict.ConfigDict) -> None:
  """A network and batches that train from scratch on a few CPU cores.

  A ResNet-18 of a quarter of the width at output stride 16. All its parts
  learn at one rate, as none is pretrained; every unlabelled batch is mixed.
  """
  config.model.encoder = "resnet18"
  config.model.width = 16
  config.model.output_stride = 16
  config.model.multi_grid = False
  config.model.decoder_channels = 32
  config.model.low_level_channels = 16
  config.model.rep_channels = 32
  config.model.aspp_rates = (2, 4, 6)
  config.data.batch_size_l = 8
  config.data.batch_size_u = 8
  config.augment.probability = 1.0
  config.optim.head_factor = 1.0
  config.optim.weight_decay = 5e-4
  config.contrast.bank_capacity = 4096
  config.contrast.bank_capacity_class0 = 4096
  config.contrast.max_keys_per_class = 256


def use_efficientnet(config: config_dict.ConfigDict) -> None:
  """EfficientNet-Lite0 with a decoder of 64 channels.

  A network to be fine-tuned on a few CPU cores, see `config.model.pretrained`.
  """
  config.model.encoder = "efficientnet_lite0"
  config.model.stem = "conv3"
  config.model.output_stride = 32
  config.model.multi_grid = False
  config.model.decoder_channels = 64
  config.model.low_level_channels = 24
  config.model.rep_channels = 64
  config.model.aspp_rates = (1, 2, 3)


def parse_arg(arg: str | None, splits: Sequence[str]) -> dict[str, str]:
  """Reads "SPLIT,method=...,recipe=...", in any order, all optional.

  Args:
    arg: what stands after the colon of --config.
    splits: allowed values of SPLIT, the first being the default; one only if
      the config has but one.

  Returns:
    A dict with the keys split, method and recipe.

  Raises:
    ValueError: an unknown, repeated or badly valued word, which it names.
  """
  allowed = {
    "split": tuple(splits),
    "method": METHODS,
    "recipe": tuple(RECIPES),
  }
  given = {}
  for word in filter(None, (arg or "").split(",")):
    key, has_value, value = word.partition("=")
    if not has_value:
      key, value = "split", word
    if key not in allowed or key in given:
      problem = "given twice" if key in given else "unknown"
      raise ValueError(
        f"config argument {word!r}: {key!r} is {problem}; expected"
        " SPLIT,method=...,recipe=..."
      )
    if value not in allowed[key]:
      raise ValueError(
        f"config argument {word!r}: {key} must be one of"
        f" {', '.join(allowed[key])}"
      )
    given[key] = value
  return {key: values[0] for key, values in allowed.items()} | given


def finish(
  config: config_dict.ConfigDict,
  arg: str | None,
  *,
  splits: Sequence[str],
  reference_gpus: int = 4,
) -> config_dict.ConfigDict:
  """Applies the argument and the recipe, and locks the config.

  Args:
    config: from `base`, changed as the protocol needs.
    arg: what stands after the colon of --config.
    splits: see `parse_arg`.
    reference_gpus: of the published run; in the `reference` recipe it divides
      the weight of the contrastive loss and the batch of stacked labels.

  Raises:
    ValueError: see `parse_arg`.
  """
  words = parse_arg(arg, splits)
  config.data.split = words["split"]
  config.method = words["method"]
  config.recipe = words["recipe"]
  config.update_from_flattened_dict(RECIPES[config.recipe])
  if config.recipe == "reference":
    config.contrast.weight = 1.0 / reference_gpus
    config.contrast.label_stack = max(
      1, config.data.batch_size_l // reference_gpus
    )
  if config.method == "suponly":
    config.model.rep_channels = 0
  return config.lock()
