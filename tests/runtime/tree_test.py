import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from u2pl_jax.runtime import tree


@flax.struct.dataclass
class State:
  step: jax.Array
  params: dict


def make_params(**changes):
  kernels = {"conv1": np.zeros((3, 3), np.float32), "conv2": np.zeros(2)}
  return {"encoder": {k: {"kernel": v} for k, v in (kernels | changes).items()}}


def test_trees_of_the_same_shapes_do_not_differ():
  shapes = jax.eval_shape(lambda: jnp.zeros((3, 3)))
  assert tree.first_difference(make_params(), make_params()) is None
  assert tree.first_difference(make_params(conv1=shapes), make_params()) is None


@pytest.mark.parametrize(
  "changes, expected",
  [
    (
      {"conv1": np.zeros((3, 4), np.float32), "conv2": np.zeros(3)},
      ("encoder/conv1/kernel", "float32[3, 4]", "float32[3, 3]"),
    ),
    (
      {"conv1": np.zeros((3, 3), np.int8)},
      ("encoder/conv1/kernel", "int8[3, 3]", "float32[3, 3]"),
    ),
    (
      {"conv3": np.zeros((), np.bool_)},
      ("encoder/conv3/kernel", "bool[]", "none"),
    ),
  ],
)
def test_the_first_difference_is_named(changes, expected):
  held = make_params(**changes)
  assert tree.first_difference(held, make_params()) == expected


def test_what_is_absent_is_missing():
  difference = tree.first_difference({}, make_params())
  assert difference == ("encoder/conv1/kernel", "missing", "float32[3, 3]")


def test_containers_count_by_the_names_of_their_parts():
  """As Orbax reads them back: fields as keys."""
  state = State(step=np.zeros((), np.int32), params=make_params())
  held = {"step": np.zeros((), np.int32), "params": make_params()}
  assert tree.first_difference(held, state) is None
  trace = (optax.TraceState(trace=make_params()), None)
  assert tree.first_difference([{"trace": make_params()}], trace) is None


def test_nested_dicts_are_merged():
  first = {"a": {"b": 1}, "c": 2}
  second = {"a": {"d": {"e": 3}}, "f": 4}
  merged = tree.merge(first, second)
  assert merged == {"a": {"b": 1, "d": {"e": 3}}, "c": 2, "f": 4}
  assert first == {"a": {"b": 1}, "c": 2}
