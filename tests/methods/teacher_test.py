import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods import teacher


@pytest.mark.parametrize(
  "nth, expected", [(1, 0), (2, 1 / 2), (3, 2 / 3), (1000, 0.99)]
)
def test_decay_averages_all_students_until_it_is_capped(nth, expected):
  decay = jax.jit(teacher.ema_decay, static_argnums=1)(nth, 0.99)
  assert float(decay) == pytest.approx(expected)


def test_teacher_moves_towards_the_student():
  old, student = {"w": np.float32([1, 2])}, {"w": np.float32([3, -2])}
  moved = teacher.ema_update(old, student, 0.75)
  np.testing.assert_allclose(moved["w"], [1.5, 1.0])


def test_counters_are_cut_off():
  moved = teacher.ema_update({"n": np.int32(0)}, {"n": np.int32(7)}, 0.5)
  assert moved["n"] == 3 and moved["n"].dtype == np.int32


def test_pseudo_labels_are_the_likeliest_classes_with_their_probability():
  logits = jnp.log(jnp.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]))
  labels, confidence = teacher.pseudo_labels(logits)
  assert labels.tolist() == [1, 0] and labels.dtype == jnp.int32
  np.testing.assert_allclose(confidence, [0.5, 0.4], rtol=1e-6)
