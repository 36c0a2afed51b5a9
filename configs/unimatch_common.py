"""What the protocols of both versions of UniMatch have in common."""

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
# DINOv2-Base with the head of DPT, fine-tuned as a whole.
NETWORK_V2 = {
  "model.encoder": "dinov2_vitb14",
  "model.decoder": "dpt",
  "optim.kind": "adamw",
  "optim.learning_rate": 5e-6,
  "optim.factors.head": 40.0,
  "optim.weight_decay": 0.01,
}
