"""One network of a checkpoint, restored without the rest."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import saved_progress
from u2pl_jax.methods.u2pl import memory_bank
from u2pl_jax.runtime import checkpoint


def save_networks(folder, teacher, network=None):
  """Saves step 3 of a state with a student of ones and a teacher of twos."""
  ones, twos = (
    {"encoder": {"kernel": jnp.full((3, 2), n)}} for n in (1.0, 2.0)
  )
  memory = {"bank": memory_bank.create_memory_bank((2, 3), 4, jnp.bfloat16)}
  if teacher:
    memory["teacher"] = {"params": twos, "batch_stats": twos}
  state = {
    "params": ones,
    "batch_stats": ones,
    "opt_state": [ones, None],
    "memory": memory,
  }
  with checkpoint.open_manager(folder, keep_last=1) as manager:
    network = network or ("teacher" if teacher else "student")
    progress = saved_progress.make(3, network=network)
    checkpoint.save(manager, 3, state, progress, 10.0)


def restore_networks(folder):
  with checkpoint.open_manager(folder, keep_last=1, read_only=True) as manager:
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


@pytest.mark.parametrize(
  "teacher, asked, chosen, value",
  [
    (True, None, "teacher", 2),
    (True, "teacher", "teacher", 2),
    (True, "student", "student", 1),
    (False, None, "student", 1),
  ],
)
def test_a_network_is_restored_from_the_folder_alone(
  teacher, asked, chosen, value, tmp_path
):
  save_networks(tmp_path, teacher=teacher)
  restored = checkpoint.restore_network(str(tmp_path), "best", asked)
  step, found, variables = restored
  assert (step, found) == (3, chosen)
  kernel = variables["params"]["encoder"]["kernel"]
  np.testing.assert_array_equal(kernel, np.full((3, 2), value))


def test_a_teacher_that_does_not_count_yet_is_not_taken(tmp_path):
  """Before the first semi step it is as it was made."""
  save_networks(tmp_path, teacher=True, network="student")
  assert checkpoint.restore_network(tmp_path, "best", None)[1] == "student"


def test_a_teacher_that_is_not_there_is_told(tmp_path):
  save_networks(tmp_path / "checkpoints", teacher=False)
  with pytest.raises(ValueError, match="has no teacher") as caught:
    checkpoint.restore_network(tmp_path / "checkpoints", "last", "teacher")
  assert str(caught.value).startswith(str(tmp_path))


def test_a_folder_without_checkpoints_is_named_and_not_made(tmp_path):
  with pytest.raises(FileNotFoundError, match="holds no run"):
    checkpoint.restore_network(tmp_path / "checkpoints", "best", None)
  assert not (tmp_path / "checkpoints").exists()
