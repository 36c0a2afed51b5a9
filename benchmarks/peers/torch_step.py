"""A whole training step in PyTorch, eager, as the published code does it.

Reference: U2PL train_semi.py (train) and train_sup.py. To the peer's favor
images come normalized, nothing is logged, and the teacher is averaged in place.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import arrays
from benchmarks.peers import (
  torch_augment,
  torch_common,
  torch_contrast,
  torch_losses,
  torch_network,
)

_MEAN = np.array((123.675, 116.28, 103.53), np.float32)
_STD = np.array((58.395, 57.12, 57.375), np.float32)
_STEPS_PER_EPOCH = 1000
# The only values that the published code has of these.
_ONLY = {
  "optim.kind": "sgd",
  "optim.accumulate_steps": 1,
  "semi.schedule_by": "epoch",
  "semi.teacher_batch_stats": "forward",
}


@dataclasses.dataclass
class Moment:
  """Where in a run a step is.

  Attributes:
    step: updates made before.
    first_step: of the semi-supervised epochs.
    steps_per_epoch: of the run.
    epochs: T.
  """

  step: int
  first_step: int
  steps_per_epoch: int
  epochs: int

  @property
  def remaining(self) -> float:
    """1 - t/T of whole epochs."""
    return 1 - self.step // self.steps_per_epoch / self.epochs


class Trainer:
  """Student, teacher, optimizer and banks, and the step that changes them.

  Attributes:
    student, teacher: networks; without a teacher the latter is None.
    banks: of the contrastive loss; None without.
  """

  def __init__(
    self,
    config: Mapping[str, Any],
    num_classes: int,
    setting: torch_common.Setting,
    *,
    has_teacher: bool,
    banks: torch_contrast.Banks | None = None,
    draw: torch_contrast.Draw = torch_contrast.draw_uniform,
    seed: int = 0,
  ):
    _check(config)
    self._config, self._num_classes = config, num_classes
    self._setting, self._draw = setting, draw
    self._rng = np.random.default_rng(seed)
    self.student = torch_network.create(config, num_classes).to(
      setting.device, memory_format=setting.memory_format
    )
    self.teacher = None
    if has_teacher:
      self.teacher = copy.deepcopy(self.student).requires_grad_(False)
    self.banks = banks
    self._optimizer = self._create_optimizer(config["optim"])

  def _create_optimizer(self, options):
    """SGD with a rate for the encoder and one for all the rest."""
    if set(options["factors"]) != {"encoder", "head"}:
      raise ValueError(
        f"--peer: optim.factors={options['factors']}; the peer has one of the"
        " encoder and one of the head"
      )
    groups = {"encoder": [], "head": []}
    for name, parameter in self.student.named_parameters():
      is_encoder = name.startswith("encoder.")
      groups["encoder" if is_encoder else "head"].append(parameter)
    return torch.optim.SGD(
      [
        {"params": groups[name], "factor": options["factors"][name]}
        for name in groups
      ],
      lr=options["learning_rate"],
      momentum=options["momentum"],
      weight_decay=options["weight_decay"],
      nesterov=options["nesterov"],
    )

  def supervised_step(
    self, images: torch.Tensor, labels: torch.Tensor, moment: Moment
  ) -> dict[str, torch.Tensor]:
    """On labeled images alone; returns the loss.

    Args:
      images: [B, 3, H, W], normalized.
      labels: int64 [B, H, W].
      moment: where in the run.
    """
    self._set_rates(moment)
    outputs = self._forward(self.student.train(), images)
    loss = torch_losses.supervised_loss(outputs, labels, self._config["loss"])
    if self.teacher is not None:  # For its statistics.
      with torch.no_grad():
        self._forward(self.teacher.train(), images)
    self._descend(loss)
    return {"supervised": loss.detach()}

  def semi_step(
    self,
    images_l: torch.Tensor,
    labels_l: torch.Tensor,
    images_u: torch.Tensor,
    moment: Moment,
  ) -> dict[str, torch.Tensor]:
    """On labeled and unlabeled images; returns the losses, weighted.

    Args:
      images_l, images_u: [B, 3, H, W], normalized.
      labels_l: int64 [B_l, H, W].
      moment: where in the run.
    """
    self._set_rates(moment)
    num_labeled, size = len(images_l), labels_l.shape[1:]
    images_u, labels_u = self._pseudo_labels(images_u)
    images = torch.cat((images_l, images_u))
    outputs = self._forward(self.student.train(), images)
    student_u = torch_network.resize(outputs["pred"][num_labeled:], size)
    labeled = {
      name: outputs[name][:num_labeled] for name in outputs if name != "rep"
    }
    semi = self._config["semi"]
    losses = {
      "supervised": torch_losses.supervised_loss(
        labeled, labels_l, self._config["loss"]
      )
    }
    taught = self._train_pass_of_teacher(images)
    teacher_u = torch_network.resize(taught["pred"][num_labeled:], size)
    drop_percent = 100 - (100 - semi["drop_percent"]) * moment.remaining
    losses["unsupervised"] = semi[
      "unsupervised_weight"
    ] * torch_losses.unsupervised_loss(
      student_u, labels_u, teacher_u, drop_percent
    )
    if self.banks is not None:
      masks = torch_losses.partition(
        teacher_u,
        labels_u,
        semi["unreliable_percent"] * moment.remaining,
        semi["reliable"],
      )
      losses["contrastive"] = self._contrast(
        outputs["rep"], taught, labels_l, labels_u, masks
      )
    self._descend(sum(losses.values()))
    self._average_teacher(moment)
    return {name: loss.detach() for name, loss in losses.items()}

  def _forward(self, network, images):
    with self._setting.autocast():
      return network(images)

  @torch.no_grad()
  def _pseudo_labels(self, images):
    """The teacher's in eval mode, both mixed with some probability."""
    outputs = self._forward(self.teacher.eval(), images)
    logits = torch_network.resize(outputs["pred"], images.shape[2:])
    _, labels = torch.max(F.softmax(logits, dim=1), dim=1)
    options = self._config["augment"]
    if options["mode"] == "none" or (
      self._rng.random() >= options["probability"]
    ):
      return images, labels
    masks = torch_augment.make_masks(labels, options["mode"], self._rng)
    images, labels = torch_augment.mix(masks, images, labels, options["mode"])
    return self._arrange(images), labels

  def _arrange(self, images):
    return images.contiguous(memory_format=self._setting.memory_format)

  @torch.no_grad()
  def _train_pass_of_teacher(self, images):
    self.teacher.train()
    if not self._config["semi"]["teacher_dropout"]:
      for module in self.teacher.modules():
        if isinstance(module, torch.nn.Dropout2d):
          module.eval()
    return self._forward(self.teacher, images)

  def _contrast(self, rep, taught, labels_l, labels_u, masks):
    options = self._config["contrast"]
    size = rep.shape[2:]
    is_class = torch.cat(
      [
        torch_losses.shrink(
          torch_losses.one_hot(
            labels, self._num_classes, options["label_stack"]
          ),
          size,
        )
        for labels in (labels_l, labels_u)
      ]
    )
    valid_l = (labels_l != torch_losses.IGNORE_LABEL).float()
    reliable, unreliable = (
      torch_losses.shrink(torch.cat((valid_l, mask.float()))[:, None], size)
      for mask in masks
    )
    return options["weight"] * torch_contrast.contrastive_loss(
      rep,
      taught["rep"],
      F.softmax(taught["pred"], dim=1),
      is_class,
      reliable,
      unreliable,
      len(labels_l),
      self.banks,
      options,
      self._draw,
    )

  def _set_rates(self, moment):
    options = self._config["optim"]
    total = moment.steps_per_epoch * moment.epochs
    factor = (1 - moment.step / total) ** options["power"]
    for group in self._optimizer.param_groups:
      group["lr"] = options["learning_rate"] * group["factor"] * factor

  def _descend(self, loss):
    self._optimizer.zero_grad()
    loss.backward()
    self._optimizer.step()

  @torch.no_grad()
  def _average_teacher(self, moment):
    semi = self._config["semi"]
    since = moment.step - moment.first_step
    decay = min(1 - 1 / (since + 1), semi["ema_decay"])
    if semi["teacher_first_epoch"] == "copy":
      decay *= since >= moment.steps_per_epoch
    pairs = zip(self.teacher.parameters(), self.student.parameters())
    for teacher, student in pairs:
      teacher.mul_(decay).add_(student, alpha=1 - decay)


def _check(config: Mapping[str, Any]) -> None:
  """Raises ValueError, one line, if the peer cannot do the same."""
  for key, only in _ONLY.items():
    section, name = key.split(".")
    value = config.get(section, {}).get(name, only)
    if value != only:
      raise ValueError(f"--peer: {key}={value}; the peer has {only} alone")


def make(settings: dict[str, Any]) -> "_Step":
  """See `u2pl_jax.tools.benchmark_worker`.

  Args:
    settings: those of `benchmarks.ours.step`, format and precision.

  Raises:
    ValueError: the peer has no such network or optimizer; one line.
  """
  return _Step(settings)


class _Step:
  def __init__(self, settings):
    config = settings["config"]
    setting = self._setting = torch_common.Setting(settings)
    self._is_semi = settings["phase"] != "supervised"
    banks, semi = None, config.get("semi")
    if self._is_semi and config["contrast"]["weight"]:
      banks = torch_contrast.create_banks(
        config["contrast"],
        settings["num_classes"],
        config["decoder"]["rep_channels"],
        setting.device,
        settings["banks"],
        settings["seed"],
      )
    accompanies = semi is not None and semi["teacher_init"] != "at_start"
    self._trainer = Trainer(
      config,
      settings["num_classes"],
      setting,
      has_teacher=self._is_semi or accompanies,
      banks=banks,
      seed=settings["seed"],
    )
    batch = arrays.make_step(settings | {"uses_unlabeled": self._is_semi})
    self.images = sum(
      len(array) for name, array in batch.items() if "image" in name
    )
    self._batch = [
      setting.place((batch[name] - _MEAN) / _STD)
      if "image" in name
      else setting.place(batch[name].astype(np.int64))
      for name in ("image_l", "label_l", "image_u")
      if name in batch
    ]
    first = 0
    if self._is_semi:
      first = semi["supervised_epochs"] * _STEPS_PER_EPOCH
    self._moment = Moment(
      first, first, _STEPS_PER_EPOCH, config["train"]["epochs"]
    )

  def run(self, calls: int) -> None:
    trainer = self._trainer
    step = trainer.semi_step if self._is_semi else trainer.supervised_step
    for _ in range(calls):
      step(*self._batch, self._moment)
      self._moment.step += 1
    self._setting.wait()

  def describe(self) -> dict[str, Any]:
    shapes = {"images": self._batch[0].shape}
    return self._setting.describe(shapes)
