import contextlib
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import saved_progress
from u2pl_jax.methods.u2pl import memory_bank
from u2pl_jax.runtime import checkpoint, sharding

DATA = {
  "dataset": "toy",
  "classes": "sky, road",
  "class map": "{0: 0}",
  "labeled ids": "a1b2",
  "unlabeled ids": "c3",
  "validation ids": "d4",
  "training contents": "e5",
  "validation contents": "f6",
  "unheard of": "then",
}


def make_state(value):
  return {
    "step": jnp.int32(value),
    "params": {"kernel": jnp.full((3, 2), value, jnp.float32)},
    "teacher": None,
    "bank": memory_bank.create_memory_bank((2, 3), 4, jnp.bfloat16),
  }


def save_all(folder, mious, keep_last=2):
  with checkpoint.open_manager(folder, keep_last=keep_last) as manager:
    for step, miou in mious.items():
      progress = saved_progress.make(step, data=DATA)
      checkpoint.save(manager, step, make_state(step), progress, miou)
    manager.wait_until_finished()
    return set(manager.all_steps()), manager.best_step()


def restore(folder, step, abstract, data=DATA):
  with checkpoint.open_manager(folder, keep_last=2, read_only=True) as manager:
    return checkpoint.restore(manager, step, abstract, data)


def abstract_state():
  return jax.eval_shape(lambda: make_state(0))


def test_restores_state_and_progress(tmp_path):
  save_all(tmp_path, {3: 10.0})
  state, progress = restore(tmp_path, 3, abstract_state())
  assert (progress["step"], progress["data"]) == (3, DATA)
  jax.tree.map(np.testing.assert_array_equal, state, make_state(3))
  assert state["bank"].keys.dtype == jnp.bfloat16
  assert state["bank"].capacity == (2, 3)


def test_saving_a_step_again_changes_nothing(tmp_path):
  assert save_all(tmp_path, {3: 10.0}) == ({3}, 3)
  with checkpoint.open_manager(tmp_path, keep_last=2) as manager:
    checkpoint.save(
      manager, 3, make_state(7), saved_progress.make(7, data=DATA)
    )
  state, progress = restore(tmp_path, 3, abstract_state())
  assert progress["step"] == 3 and state["step"] == 3


def place(tree, shape, spec):
  """Arrays, or shapes of them, on a mesh of so many devices."""
  mesh = sharding.create_mesh(shape, jax.devices()[: np.prod(shape)])
  where = jax.sharding.NamedSharding(mesh, spec)
  return jax.tree.map(
    lambda leaf: (
      jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
      if isinstance(leaf, jax.ShapeDtypeStruct)
      else jax.device_put(leaf, where)
    ),
    tree,
  )


@pytest.mark.parametrize(
  "shape, spec",
  [((1, 1), jax.P()), ((8, 1), jax.P()), ((2, 4), jax.P(None, "fsdp"))],
)
def test_a_state_of_8_devices_is_restored_on_others(shape, spec, tmp_path):
  values = np.random.default_rng(0).normal(size=(8, 40)).astype(np.float32)
  state = {"kernel": jnp.asarray(values)}
  with checkpoint.open_manager(tmp_path, keep_last=1) as manager:
    checkpoint.save(
      manager,
      1,
      place(state, (1, 8), jax.P("fsdp")),
      saved_progress.make(data=DATA),
    )
  wanted = place(jax.eval_shape(lambda: state), shape, spec)
  restored, _ = restore(tmp_path, 1, wanted)
  assert restored["kernel"].sharding == wanted["kernel"].sharding
  np.testing.assert_array_equal(restored["kernel"], values)


def change(**changes):
  def make():
    state = abstract_state()
    params = dict(state["params"]) | changes
    return state | {"params": {k: v for k, v in params.items() if v}}

  return make


def shape_of(*shape, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(
  "make, words",
  [
    (
      change(kernel=shape_of(3, 5)),
      "params/kernel is float32[3, 2], this config has float32[3, 5]",
    ),
    (
      change(kernel=shape_of(3, 2, dtype=jnp.bfloat16)),
      "params/kernel is float32[3, 2], this config has bfloat16[3, 2]",
    ),
    (
      change(kernel=None),
      "params/kernel is float32[3, 2], this config has none",
    ),
    (
      change(bias=shape_of(2)),
      "params/bias is missing, this config has float32[2]",
    ),
    (
      change(kernel=shape_of(3, 5), bias=shape_of(2)),
      "params/bias is missing",
    ),
  ],
)
def test_another_network_is_refused_by_its_first_leaf(make, words, tmp_path):
  save_all(tmp_path, {3: 10.0})
  for path in (tmp_path / "3" / "state").glob("ocdbt.*/d/*"):
    os.truncate(path, 0)  # Found out before any array is read.
  with pytest.raises(ValueError) as caught:
    restore(tmp_path, 3, make())
  message = str(caught.value)
  assert words in message and str(tmp_path / "3") in message
  assert "\n" not in message


_LISTS = {"labeled ids": "ff", "unlabeled ids": "00", "validation ids": "11"}


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"dataset": "other"}, ["the dataset was 'toy', is 'other'"]),
    ({"classes": "sky"}, ["the classes were sky, road, are sky"]),
    ({"class map": "{}"}, ["values of masks stand for other classes"]),
    (
      _LISTS,
      [
        "the labeled list changed",
        "the unlabeled list changed",
        "the validation list changed",
      ],
    ),
    (
      {"training contents": "ff", "validation contents": "ff"},
      [
        "pixels or masks of the training images changed",
        "pixels or masks of the validation images changed",
      ],
    ),
    ({"unheard of": "now"}, ["unheard of was then, is now"]),
  ],
)
def test_other_data_is_refused_by_all_that_changed(changes, words, tmp_path):
  save_all(tmp_path, {3: 10.0})
  restore(tmp_path, 3, abstract_state())
  with pytest.raises(ValueError) as caught:
    restore(tmp_path, 3, abstract_state(), DATA | changes)
  assert str(caught.value) == (
    f"{tmp_path / '3'} was trained on other data: {'; '.join(words)}; restore"
    " that data, or start anew in another --workdir"
  )


def test_what_an_earlier_version_did_not_record_may_be_anything(tmp_path):
  known = {"dataset": "toy", "labeled ids": "a1b2"}
  known |= {"class 0": "sky", "class 1": "road"}
  with checkpoint.open_manager(tmp_path, keep_last=1) as manager:
    notes = saved_progress.make(data=known)
    checkpoint.save(manager, 3, make_state(3), notes)
  restore(tmp_path, 3, abstract_state())
  with pytest.raises(ValueError, match="classes were sky, road, are road, sky"):
    restore(tmp_path, 3, abstract_state(), DATA | {"classes": "road, sky"})


@contextlib.contextmanager
def no_file_larger_than(size):
  """The system refuses larger files, as a full disk would."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_state(seed):
  return {"kernel": jax.random.normal(jax.random.key(seed), (200, 200))}


@pytest.mark.parametrize("size", [10, 50_000])
def test_a_save_that_finds_no_room_is_an_error_and_leaves_the_last(
  size, tmp_path, capfd
):
  progress = saved_progress.make(data=DATA)
  with (
    pytest.raises(OSError, match="File too large") as caught,
    contextlib.ExitStack() as limit,  # Until the manager is closed.
    checkpoint.open_manager(tmp_path / "full", keep_last=2) as manager,
  ):
    checkpoint.save(manager, 1, large_state(1), progress, 10.0)
    checkpoint.wait(manager)
    limit.enter_context(no_file_larger_than(size))
    checkpoint.save(manager, 2, large_state(2), progress, 20.0)
    checkpoint.wait(manager)
  message = str(caught.value)
  assert str(tmp_path / "full") in message and "\n" not in message
  assert "tensorstore" not in message
  assert "Traceback" not in capfd.readouterr().err
  # With room again, the next start saves that step as if nothing had been. (It
  # is another process; here, threads of the failed save may still write.)
  rest = tmp_path / "rest"
  ignored = shutil.ignore_patterns("*.__lock")
  shutil.copytree(tmp_path / "full", rest, ignore=ignored)
  with checkpoint.open_manager(rest, keep_last=2) as manager:
    assert manager.latest_step() == manager.best_step() == 1
    checkpoint.save(manager, 2, large_state(2), progress, 20.0)
  assert sorted(path.name for path in rest.iterdir()) == ["1", "2"]
  restored, _ = restore(rest, 2, jax.eval_shape(lambda: large_state(0)))
  np.testing.assert_array_equal(restored["kernel"], large_state(2)["kernel"])


def test_an_error_of_the_background_surfaces_at_the_next_save(tmp_path):
  progress = saved_progress.make(data=DATA)
  with (
    no_file_larger_than(50_000),
    checkpoint.open_manager(tmp_path, keep_last=2) as manager,
  ):
    checkpoint.save(manager, 1, large_state(1), progress)
    with pytest.raises(OSError, match="File too large"):
      checkpoint.save(manager, 2, large_state(2), progress)


def find_step(folder, which):
  with checkpoint.open_manager(folder, keep_last=2, read_only=True) as manager:
    return checkpoint.find_step(manager, which)


def test_best_and_last_are_found(tmp_path):
  save_all(tmp_path, {1: 50.0, 2: 90.0, 3: 70.0})
  assert (find_step(tmp_path, "best"), find_step(tmp_path, "last")) == (2, 3)


def test_without_an_evaluated_checkpoint_there_is_no_best(tmp_path):
  save_all(tmp_path, {1: None})
  assert find_step(tmp_path, "last") == 1
  with pytest.raises(FileNotFoundError, match="no best .*--checkpoint=last"):
    find_step(tmp_path, "best")


def test_without_any_checkpoint_no_other_one_is_proposed(tmp_path):
  for which in ("best", "last"):
    with pytest.raises(FileNotFoundError, match=f"no {which} .*none was saved"):
      find_step(tmp_path, which)


def test_what_is_asked_for_and_damaged_is_named(tmp_path):
  save_all(tmp_path, {1: 90.0, 2: 50.0})
  shutil.rmtree(tmp_path / "2" / "state" / "d")
  assert find_step(tmp_path, "best") == 1
  with pytest.raises(ValueError, match="damaged checkpoint") as caught:
    find_step(tmp_path, "last")
  assert str(tmp_path / "2") in str(caught.value)


def test_keeps_the_last_few_and_the_best(tmp_path):
  mious = {1: 50.0, 2: 90.0, 3: 70.0, 4: None, 5: 60.0}
  assert save_all(tmp_path, mious) == ({2, 4, 5}, 2)


def test_the_best_is_replaced_by_a_better_one(tmp_path):
  assert save_all(tmp_path, {1: 10.0, 2: 20.0, 3: 30.0, 4: 5.0}, 1) == (
    {3, 4},
    3,
  )


def test_best_miou_of_an_empty_folder_is_none(tmp_path):
  with checkpoint.open_manager(tmp_path, keep_last=1) as manager:
    assert checkpoint.find_best(manager) is None


def test_best_miou_is_that_of_the_best(tmp_path):
  save_all(tmp_path, {1: 50.0, 2: 40.0})
  with checkpoint.open_manager(
    tmp_path, keep_last=1, read_only=True
  ) as manager:
    assert checkpoint.find_best(manager) == (1, 50.0)


def test_keep_last_must_be_positive(tmp_path):
  with pytest.raises(ValueError, match="keep_last=0"):
    save_all(tmp_path, {}, keep_last=0)
