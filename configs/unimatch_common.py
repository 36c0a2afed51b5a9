"""What the protocols of both versions of UniMatch have in common."""

from ml_collections import config_dict

from configs import common

V1, V2 = "unimatch", "unimatch_v2"
# ResNet-101 with the smaller decoder.
NETWORK_V1 = {
  "model.encoder": "resnet101",
  "model.decoder": "deeplab_slim",
  "encoder.output_stride": 16,
  "encoder.multi_grid": False,
  "encoder.pool_ceil": False,
}
# Of labeled and unlabeled images.
WEAK_VIEWS = {
  "data.resizing": "long_side",
  "data.padding": "corner",
  "data.scale_range": (0.5, 2.0),
  "data.pad_label": 255,
}
# Of both versions on Cityscapes, but for the network, crops and epochs.
CITYSCAPES = {
  "data.name": "cityscapes",
  "data.batch_size_l": 8,
  "data.batch_size_u": 8,
  "loss.kind": "ohem",
  "eval.protocol": "slide",
  "eval.batch_size": 8,
}
# DINOv2-Base with the head of DPT, fine-tuned as a whole.
NETWORK_V2 = {
  "model.encoder": "dinov2_vitb14",
  "model.decoder": "dpt",
  "optim.kind": "adamw",
  "optim.learning_rate": 5e-6,
  "optim.factors.head": 40.0,
  "optim.weight_decay": 0.01,
}


def take_lists(arg: str | None) -> tuple[str, str]:
  """Takes "lists=..." out of the argument: "unimatch", the default, or "u2pl".

  Args:
    arg: what stands after the colon of --config.

  Returns:
    The rest of the argument, and whose lists are wanted.

  Raises:
    ValueError: see `common.take_word`.
  """
  return common.take_word(arg, "lists", ("unimatch", "u2pl"))


def use_own_lists(config: config_dict.ConfigDict) -> None:
  """Has the config take UniMatch's list of a size for U2PL's."""
  config.data.split = f"unimatch_{config.data.split}"
