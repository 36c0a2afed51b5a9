import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax import checkpoint, memory_bank


def make_state(value):
  return {
    "step": jnp.int32(value),
    "params": {"kernel": jnp.full((3, 2), value, jnp.float32)},
    "teacher": None,
    "bank": memory_bank.create_memory_bank((2, 3), 4, jnp.bfloat16),
  }


def save_all(folder, mious, keep_last=2):
  with checkpoint.create_manager(folder, keep_last=keep_last) as manager:
    for step, miou in mious.items():
      checkpoint.save(manager, step, make_state(step), {"step": step}, miou)
    manager.wait_until_finished()
    return set(manager.all_steps()), manager.best_step()


def test_restores_state_and_progress(tmp_path):
  save_all(tmp_path, {3: 10.0})
  with checkpoint.create_manager(tmp_path, keep_last=1) as manager:
    abstract = jax.eval_shape(lambda: make_state(0))
    state, progress = checkpoint.restore(manager, 3, abstract)
  assert progress == {"step": 3}
  jax.tree.map(np.testing.assert_array_equal, state, make_state(3))
  assert state["bank"].keys.dtype == jnp.bfloat16
  assert state["bank"].capacity == (2, 3)


def test_keeps_the_last_few_and_the_best(tmp_path):
  mious = {1: 50.0, 2: 90.0, 3: 70.0, 4: None, 5: 60.0}
  assert save_all(tmp_path, mious) == ({2, 4, 5}, 2)


def test_the_best_is_replaced_by_a_better_one(tmp_path):
  assert save_all(tmp_path, {1: 10.0, 2: 20.0, 3: 30.0, 4: 5.0}, 1) == (
    {3, 4},
    3,
  )


def test_best_miou_of_an_empty_folder_is_none(tmp_path):
  with checkpoint.create_manager(tmp_path, keep_last=1) as manager:
    assert checkpoint.best_miou(manager) is None


def test_best_miou_is_that_of_the_best(tmp_path):
  save_all(tmp_path, {1: 50.0, 2: 40.0})
  with checkpoint.create_manager(
    tmp_path, keep_last=1, read_only=True
  ) as manager:
    assert checkpoint.best_miou(manager) == 50.0


def test_keep_last_must_be_positive(tmp_path):
  with pytest.raises(ValueError, match="keep_last=0"):
    checkpoint.create_manager(tmp_path, keep_last=0)


def save_networks(folder, teacher):
  """Saves step 3 of a state with a student of ones and a teacher of twos."""
  ones, twos = (
    {"encoder": {"kernel": jnp.full((3, 2), n)}} for n in (1.0, 2.0)
  )
  state = {
    "params": ones,
    "batch_stats": ones,
    "opt_state": [ones, None],
    "teacher_params": twos if teacher else None,
    "teacher_batch_stats": twos if teacher else None,
    "bank": memory_bank.create_memory_bank((2, 3), 4, jnp.bfloat16),
  }
  with checkpoint.create_manager(folder, keep_last=1) as manager:
    checkpoint.save(manager, 3, state, {"step": 3}, 10.0)


def restore_networks(folder):
  with checkpoint.create_manager(
    folder, keep_last=1, read_only=True
  ) as manager:
    return [
      checkpoint.restore_variables(manager, 3, teacher=teacher)
      for teacher in (False, True)
    ]


def test_variables_are_restored_without_an_abstract_state(tmp_path):
  save_networks(tmp_path, teacher=True)
  for variables, value in zip(restore_networks(tmp_path), (1, 2), strict=True):
    assert variables.keys() == {"params", "batch_stats"}
    for tree in variables.values():
      kernel = tree["encoder"]["kernel"]
      assert isinstance(kernel, np.ndarray) and kernel.dtype == np.float32
      np.testing.assert_array_equal(kernel, np.full((3, 2), value))


def test_a_state_without_teacher_has_no_teacher_variables(tmp_path):
  save_networks(tmp_path, teacher=False)
  student, teacher = restore_networks(tmp_path)
  assert student is not None and teacher is None
