"""SGD as PyTorch does it, with the published schedule and learning rates."""

from typing import Any

import jax
import optax

Params = Any


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


def _group_of_params(params: Params) -> Params:
  """Labels every leaf "encoder" or "head" by its top-level module."""
  return {
    name: jax.tree.map(
      lambda _, group="encoder" if name == "encoder" else "head": group,
      subtree,
    )
    for name, subtree in params.items()
  }


def create_optimizer(
  *,
  learning_rate: float,
  head_factor: float,
  power: float,
  momentum: float,
  weight_decay: float,
  total_steps: int,
) -> optax.GradientTransformation:
  """SGD with coupled weight decay on every parameter.

  The decay is added to the gradient before momentum; the momentum buffer
  starts as the first gradient. The encoder learns at the scheduled rate,
  everything else at `head_factor` times it.

  Args:
    learning_rate: base rate, > 0.
    head_factor: 10 on VOC, 1 on Cityscapes.
    power: of the poly schedule, 0.9.
    momentum: 0.9.
    weight_decay: 1e-4 on VOC, 5e-4 on Cityscapes.
    total_steps: of the run, >= 1.

  Returns:
    An optax transformation for params with the top-level key "encoder".

  Reference: algorithm step 8; `u2pl/utils/lr_helper.py`.
  """

  def sgd(rate: float) -> optax.GradientTransformation:
    return optax.chain(
      optax.add_decayed_weights(weight_decay),
      optax.sgd(poly_schedule(rate, total_steps, power), momentum=momentum),
    )

  return optax.partition(
    {"encoder": sgd(learning_rate), "head": sgd(learning_rate * head_factor)},
    _group_of_params,
  )
