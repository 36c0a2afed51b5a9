"""Optimizers: SGD as PyTorch does it, and AdamW; one schedule for both."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from u2pl_jax.runtime import options as options_lib

Params = Any

REST = "head"  # The group of all parameters that no other group names.
_IDLE = "(idle)"  # The group of those that no update reaches; not a path.


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimOptions(options_lib.Options):
  """Options of the optimizer."""

  SECTION: ClassVar[str] = "optim"

  # The optimizer.
  kind: str = options_lib.setting("sgd", choices=("sgd", "adamw"))
  learning_rate: float = options_lib.setting(0.001, above=0)  # At the start.
  # Whether that is for 16 labeled images a step, and others scale it.
  lr_per_16: bool = False
  # Times the learning rate, of groups of parameters. A group is the beginning
  # of their paths, such as "encoder" or "encoder/layer4_0"; the longest one
  # counts, and "head" stands for all that no other group names.
  factors: dict[str, float] = options_lib.setting(
    {"encoder": 1.0, REST: 10.0}, minimum=0
  )
  power: float = options_lib.setting(0.9, minimum=0)  # Of the poly schedule.
  # Each step has the rate of the one before, as in code that sets it too late.
  late_rate: bool = False
  momentum: float = options_lib.setting(0.9, minimum=0, maximum=1)  # Of sgd.
  nesterov: bool = False  # Of sgd: look ahead along the momentum.
  beta1: float = 0.9  # Of adamw, in [0, 1); of the mean gradient.
  beta2: float = 0.999  # Of adamw, in [0, 1); of the mean square.
  epsilon: float = options_lib.setting(1e-8, above=0)  # Of adamw.
  # Of every parameter: sgd adds it to the gradient, adamw to the update.
  weight_decay: float = options_lib.setting(1e-4, minimum=0)
  # Parts that a batch is computed in, one after the other.
  accumulate_steps: int = options_lib.setting(1, minimum=1)

  def check(self) -> None:
    for name in ("beta1", "beta2"):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(
          f"optim.{name}={getattr(self, name)}: must be in [0, 1)"
        )
    if REST not in self.factors:
      raise ValueError(
        f"optim.factors.{REST} is missing, for all parameters of no other group"
      )

  def base_rate(self, batch_size_l: int) -> float:
    """Learning rate at the start, of a group whose factor is 1.

    Args:
      batch_size_l: labeled images a step, all devices.
    """
    scale = batch_size_l / 16 if self.lr_per_16 else 1.0
    return self.learning_rate * scale


def scale_rate(options: OptimOptions, times: float) -> float:
  """The learning rate for a batch that is so many times as large.

  SGD's grows as the batch does, AdamW's as its square root; one that is for 16
  images stays, as `base_rate` scales it.

  Args:
    options: of the optimizer, for the batch as it was.
    times: of the number of images, above 0.

  Reference: Goyal et al. 2017 (arXiv 1706.02677) for SGD; Malladi et al. 2022
  (arXiv 2205.10287) for Adam.
  """
  if options.lr_per_16:
    return options.learning_rate
  scale = {"sgd": times, "adamw": times**0.5}[options.kind]
  return options.learning_rate * scale


def poly_schedule(
  learning_rate: float, total_steps: int, power: float
) -> optax.Schedule:
  """lr(step) = learning_rate * (1 - step / total_steps) ** power, then 0.

  The step is the number of updates made before, so the first update uses the
  full rate.
  """
  return optax.polynomial_schedule(
    init_value=learning_rate,
    end_value=0.0,
    power=power,
    transition_steps=total_steps,
  )


def learning_rates(
  options: OptimOptions, *, learning_rate: float, total_steps: int
) -> dict[str, optax.Schedule]:
  """The schedule of each group of parameters, by its name.

  Args:
    options: of the optimizer.
    learning_rate: at the start, see `OptimOptions.base_rate`.
    total_steps: of the run, >= 1.

  Reference: with `late_rate`, UniMatch's unimatch.py and unimatch_v2.py.
  """

  def schedule(factor: float) -> optax.Schedule:
    poly = poly_schedule(learning_rate * factor, total_steps, options.power)
    if not options.late_rate:
      return poly
    return lambda step: poly(jnp.maximum(step - 1, 0))

  return {group: schedule(f) for group, f in options.factors.items()}


def group_params(
  params: Params, groups: Sequence[str], idle: Sequence[str] = ()
) -> Params:
  """Names the group of every parameter.

  Args:
    params: nested dicts of arrays or `jax.ShapeDtypeStruct`s.
    groups: beginnings of paths, and `REST`.
    idle: the same, of parameters that no output depends on.

  Returns:
    A tree like `params`, of names.
  """

  def find(path, _):
    words = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
    prefixes = ["/".join(words[:n]) for n in range(len(words), 0, -1)]
    if any(prefix in idle for prefix in prefixes):
      return _IDLE
    named = (p for p in prefixes if p in groups and p != REST)
    return next(named, REST)

  return jax.tree_util.tree_map_with_path(find, params)


def check_groups(params: Params, groups: Sequence[str]) -> None:
  """Raises ValueError if no parameter is of some group, which it names.

  Args:
    params: of the whole network, what is frozen included.
    groups: see `group_params`.
  """
  matched = {REST, *jax.tree.leaves(group_params(params, groups))}
  for group in groups:
    if group not in matched:
      raise ValueError(
        f"optim.factors.{group}: no parameter's path begins with {group!r}, or"
        " longer groups take them all; the network's parts are"
        f" {', '.join(params)}"
      )


def create_optimizer(
  options: OptimOptions,
  *,
  learning_rate: float,
  total_steps: int,
  idle: Sequence[str] = (),
) -> optax.GradientTransformation:
  """SGD or AdamW with a poly schedule, and a rate for each group.

  sgd: the decay is added to the gradient before momentum, whose buffer starts
  as the first gradient. adamw: p <- p (1 - rate * decay) - rate * update, with
  the rate of the parameter's group. Both decay every parameter but the idle
  ones, which stay as they are: PyTorch passes over what has no gradient.

  Args:
    options: of the optimizer.
    learning_rate: at the start, see `OptimOptions.base_rate`.
    total_steps: of the run, >= 1.
    idle: beginnings of the paths of parameters that no output depends on.

  Returns:
    An optax transformation.

  Reference: algorithm step 8; `u2pl/utils/lr_helper.py`. Loshchilov and Hutter
    2019 (arXiv 1711.05101); torch.optim.AdamW.
  """
  rates = learning_rates(
    options, learning_rate=learning_rate, total_steps=total_steps
  )
  make = {"sgd": _sgd, "adamw": _adamw}[options.kind]
  updates = {group: make(options, rate) for group, rate in rates.items()}
  if idle:
    updates[_IDLE] = optax.set_to_zero()
  return optax.partition(
    updates,
    lambda params: group_params(params, tuple(rates), idle),
  )


def _sgd(
  options: OptimOptions, rate: optax.Schedule
) -> optax.GradientTransformation:
  return optax.chain(
    optax.add_decayed_weights(options.weight_decay),
    optax.sgd(rate, options.momentum, options.nesterov),
  )


def _adamw(
  options: OptimOptions, rate: optax.Schedule
) -> optax.GradientTransformation:
  return optax.adamw(
    rate,
    b1=options.beta1,
    b2=options.beta2,
    eps=options.epsilon,
    weight_decay=options.weight_decay,
  )
