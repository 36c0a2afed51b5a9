"""The loop end to end, on a small synthetic dataset and a tiny network."""

import functools
import json
import os
import resource
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep import synthetic
from tests import finished_run, tiny_run
from tests.finished_run import assert_bit_identical, state_of
from u2pl_jax import evaluate, train
from u2pl_jax.experiment import inputs
from u2pl_jax.ops import normalize
from u2pl_jax.runtime import distributed, sharding
from u2pl_jax.training import programs


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


_create_mesh = sharding.create_mesh


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  monkeypatch.setattr(
    sharding,
    "create_mesh",
    lambda shape, *_: _create_mesh(shape, jax.devices()[:1]),
  )


@pytest.fixture
def make_config(data_dir):
  return functools.partial(tiny_run.make_config, data_dir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Folder of the one uninterrupted run that several tests look at."""
  return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def whole_run(finished, make_config):
  if not (finished / "result.json").exists():
    train.train_and_evaluate(make_config(), finished)
  return finished


def test_workdir_holds_config_events_checkpoints_and_result(whole_run):
  config = json.loads((whole_run / "config.json").read_text())
  assert config["contrast"]["num_anchors"] == 50
  assert list(whole_run.glob("events.out.tfevents.*"))
  steps = {
    int(path.name) for path in (whole_run / "checkpoints").glob("[0-9]*")
  }
  assert {4, 6} <= steps
  notes = whole_run / "checkpoints" / "6" / "progress" / "metadata"
  assert json.loads(notes.read_text())["phase"] == "semi"
  result = json.loads((whole_run / "result.json").read_text())
  assert set(result) == {
    "step", "network", "protocol", "evaluation", "miou", "iou",
    "pixel_accuracy", "best_step", "best_miou", "best_protocol", "seconds",
    "images_per_second", "milliseconds_per_step", "method", "recipe", "seed",
    "versions", "evaluations",
  }  # fmt: skip
  assert result["step"] == 6
  assert set(result["iou"]) == set(synthetic.CLASS_NAMES)
  assert 0 <= result["miou"] <= result["best_miou"] <= 100
  assert (result["method"], result["recipe"]) == ("u2pl", "paper")


def test_every_step_and_every_evaluation_is_logged(whole_run):
  tags = finished_run.read_tags(whole_run)
  of_both_phases = [
    "loss/supervised", "loss/total", "learning_rate/encoder",
    "learning_rate/head",
  ]  # fmt: skip
  of_the_semi_phase = [
    "loss/unsupervised", "loss/contrastive", "semi/drop_percent",
    "semi/drop_threshold", "semi/reliable_fraction", "contrast/anchors/ball",
    "bank/fill/ring",
  ]  # fmt: skip
  for tag in of_both_phases:
    assert tags[tag] == [1, 2, 3, 4, 5, 6], tag
  for tag in of_the_semi_phase:
    assert tags[tag] == [3, 4, 5, 6], tag
  for tag in ("crop/miou", "crop/iou/ball", "crop/0", "crop/1"):
    assert tags[tag] == [2, 4, 6], tag


@pytest.fixture
def run(monkeypatch):
  """Trains with what `show` receives handed to a function; returns it all."""

  def run(config, workdir, on_line=lambda line: None, **options):
    lines = []

    def show(line):
      lines.append(line)
      on_line(line)

    monkeypatch.setattr(distributed, "show", show)
    return train.train_and_evaluate(config, workdir, **options), lines

  return run


def assert_same_run(workdir, whole_run, config):
  """The states are equal bit by bit, and so are the scores."""
  assert_bit_identical(state_of(config, workdir), state_of(config, whole_run))
  scores = [
    json.loads((folder / "result.json").read_text())
    for folder in (workdir, whole_run)
  ]
  assert scores[0]["miou"] == scores[1]["miou"]


def test_resumed_run_equals_the_uninterrupted_one(
  whole_run, make_config, tmp_path, run
):
  def die_at_step_5(line):
    if line.startswith("step 5:") or line.startswith("step 6/"):
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(make_config(), tmp_path, die_at_step_5)
  _, lines = run(make_config(), tmp_path)
  assert "resuming at step 4" in lines
  assert_same_run(tmp_path, whole_run, make_config())


def test_a_run_killed_as_a_phase_begins_is_the_same(
  whole_run, make_config, tmp_path, run
):
  """The checkpoint belongs to the phase before; its memory is made anew."""

  def die_at_step_3(line):
    if line.startswith("step 3/"):
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(make_config(), tmp_path, die_at_step_3)
  assert state_of(make_config(), tmp_path, 2).memory is None
  _, lines = run(make_config(), tmp_path)
  assert "resuming at step 2" in lines
  assert_same_run(tmp_path, whole_run, make_config())


def send_sigterm():
  os.kill(os.getpid(), signal.SIGTERM)


def test_signals_end_a_run_that_the_same_command_goes_on_with(
  whole_run, make_config, tmp_path, run, monkeypatch, capfd
):
  create_train_step = programs.Programs.create_train_step

  def create_interrupted_step(exp):
    step = create_train_step(exp)

    def interrupted(index, state, batch):
      if index == 2:  # As the first semi step is about to be compiled.
        send_sigterm()
      return step(index, state, batch)

    return interrupted

  with monkeypatch.context() as patch:
    patch.setattr(
      programs.Programs, "create_train_step", create_interrupted_step
    )
    result, lines = run(make_config(), tmp_path)
  assert result is None and not (tmp_path / "result.json").exists()
  assert lines[-1] == (
    f"stopped by SIGTERM at step 3 of 6, saved in {tmp_path}; the same command"
    " goes on from there"
  )

  def interrupt_evaluation(line):
    if line.startswith("step 4:"):
      os.kill(os.getpid(), signal.SIGINT)

  handler = signal.getsignal(signal.SIGINT)
  _, lines = run(make_config(), tmp_path, interrupt_evaluation)
  assert "resuming at step 3" in lines
  assert lines[-1].startswith("stopped by Ctrl-C at step 4 of 6")
  said = capfd.readouterr().err
  assert "stopping after this evaluation; Ctrl-C again ends at once\n" in said
  assert signal.getsignal(signal.SIGINT) is handler
  at_step_4 = state_of(make_config(), tmp_path)

  def interrupt_the_end(line):
    if line.startswith("step 6:"):
      os.kill(os.getpid(), signal.SIGINT)

  result, _ = run(make_config(), tmp_path, interrupt_the_end)
  assert result["step"] == 6  # It was about to end anyway.
  assert "stopping after this evaluation" in capfd.readouterr().err
  assert_same_run(tmp_path, whole_run, make_config())
  assert_bit_identical(at_step_4, state_of(make_config(), whole_run, 4))


@pytest.fixture
def copied_run(whole_run, tmp_path):
  """The finished run, to be harmed; its result is yet to be written."""
  shutil.copytree(whole_run, tmp_path / "copy")
  (tmp_path / "copy" / "result.json").unlink()
  return tmp_path / "copy"


def cut_arrays(folder):
  """Cuts the largest file of a checkpoint's arrays in half."""
  files = list(folder.glob("state/**/d/*"))
  largest = max(files, key=lambda path: path.stat().st_size)
  os.truncate(largest, largest.stat().st_size // 2)


def test_a_cut_off_checkpoint_is_skipped_and_the_run_is_the_same(
  copied_run, whole_run, make_config, run
):
  cut_arrays(copied_run / "checkpoints" / "6")
  profile = copied_run / "profile"  # Of a step that is made once more.
  _, lines = run(make_config(), copied_run, profile_steps=(5, 6))
  assert lines[0].startswith("checkpoint of step 6 is damaged (an array")
  assert "resuming at step 4" in lines
  assert (copied_run / "damaged_checkpoints" / "6").is_dir()
  assert_same_run(copied_run, whole_run, make_config())
  assert f"profile written to {profile}" in lines
  assert list(profile.rglob("*.xplane.pb"))


def test_deleted_metadata_of_all_checkpoints_does_not_start_again(
  copied_run, make_config, run
):
  for path in copied_run.glob("checkpoints/*/state/_METADATA"):
    path.unlink()
  with pytest.raises(ValueError, match="no checkpoint can be read") as caught:
    run(make_config(), copied_run)
  assert str(copied_run) in str(caught.value)
  with pytest.raises(ValueError, match="damaged checkpoint"):
    evaluate.evaluate(make_config(), copied_run, "last")


def test_another_network_or_other_data_is_refused_by_name(
  copied_run, make_config, run, tmp_path
):
  # As the config of the folder does not match its checkpoints any more.
  path = copied_run / "config.json"
  text = path.read_text()
  path.write_text(text.replace('"width": 4', '"width": 8'))
  with pytest.raises(ValueError, match="batch_stats/encoder.* is float32"):
    run(make_config(**{"encoder.width": 8}), copied_run)
  path.write_text(text)
  config = make_config()
  shutil.copytree(config["data"]["data_dir"], tmp_path / "other")
  (lists,) = (tmp_path / "other").rglob("lists/16")
  for name in ("labeled.txt", "unlabeled.txt"):
    ids = (lists / name).read_text().splitlines()
    (lists / name).write_text("\n".join(reversed(ids)))
  other = make_config(**{"data.data_dir": str(tmp_path / "other")})
  with pytest.raises(
    ValueError, match="labeled list changed; the unl"
  ) as error:
    run(other, copied_run)
  assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_full_disk_is_named_and_with_room_again_the_run_is_the_same(
  whole_run, make_config, tmp_path, run
):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)

  def fill_disk_before_step_4_is_saved(line):
    if line.startswith("step 4:"):
      resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

  try:
    with pytest.raises(OSError, match="File too large") as caught:
      run(make_config(), tmp_path, fill_disk_before_step_4_is_saved)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  message = str(caught.value)
  assert f"last good checkpoint in {tmp_path}/checkpoints: step 2" in message
  assert "the same command goes on" in message and "\n" not in message
  _, lines = run(make_config(), tmp_path)
  assert "resuming at step 2" in lines
  assert_same_run(tmp_path, whole_run, make_config())


@pytest.mark.parametrize("mesh", [(8, 1), (2, 4)])
def test_a_checkpoint_of_one_device_is_restored_on_eight(
  mesh, whole_run, make_config, monkeypatch
):
  on_one = state_of(make_config(), whole_run)
  monkeypatch.setattr(sharding, "create_mesh", _create_mesh)
  assert_bit_identical(state_of(make_config(mesh=mesh), whole_run), on_one)


def test_a_finished_run_is_not_trained_again(whole_run, make_config, run):
  before = json.loads((whole_run / "result.json").read_text())
  result, lines = run(make_config(), whole_run)
  assert not any(line.startswith("compiling") for line in lines)
  for key in ("miou", "images_per_second", "best_step"):
    assert result[key] == before[key]


@pytest.mark.slow
def test_a_run_goes_on_on_other_devices_up_to_rounding(
  make_config, tmp_path, monkeypatch, run
):
  # At a higher rate rounding soon tips pixels over the threshold.
  config = functools.partial(make_config, **{"optim.learning_rate": 0.001})

  def stop(line):
    if line.startswith("step 4:"):
      os.kill(os.getpid(), signal.SIGTERM)

  run(config(), tmp_path / "one")
  assert run(config(), tmp_path / "two", stop)[0] is None
  monkeypatch.setattr(sharding, "create_mesh", _create_mesh)
  _, lines = run(config(mesh=(4, 2)), tmp_path / "two")
  assert "resuming at step 4" in lines
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
    state_of(config(mesh=(4, 2)), tmp_path / "two").student,
    state_of(config(mesh=(4, 2)), tmp_path / "one").student,
  )


def test_another_config_is_refused_by_key(whole_run, make_config):
  with pytest.raises(ValueError, match="seed=0, not 1"):
    train.train_and_evaluate(make_config(**{"seed": 1}), whole_run)


def test_evaluating_an_empty_workdir_says_so(make_config, tmp_path):
  with pytest.raises(FileNotFoundError, match="holds no run"):
    evaluate.evaluate(make_config(), tmp_path, "best")


@pytest.mark.parametrize(
  "arg",
  ["method=suponly", pytest.param("recipe=reference", marks=pytest.mark.slow)],
)
def test_other_methods_train_to_the_end(arg, make_config, tmp_path):
  result = train.train_and_evaluate(
    make_config(arg, **{"train.epochs": 2}), tmp_path
  )
  assert result["step"] == 4
  if result["network"] == "student":
    with pytest.raises(ValueError, match="--state=teacher: .* only a student"):
      evaluate.evaluate(
        make_config(arg, **{"train.epochs": 2}),
        tmp_path,
        "last",
        network="teacher",
      )
  assert f"{result['method']} {result['recipe']}" in (
    "suponly paper",
    "u2pl reference",
  )


def poison_step(monkeypatch, step):
  """Has the images of one update become NaN as they are normalized."""
  train_batches, original = inputs.train_batches, normalize.normalize

  def poisoned_batches(exp, start_step):
    batches = train_batches(exp, start_step)
    for index, batch in enumerate(batches, start_step + 1):
      if index == step:
        batch["image_l"] = np.full_like(batch["image_l"], 77)
      yield batch

  def poisoned_normalize(images, *colors):
    is_poison = jnp.all(images == 77, axis=(1, 2, 3), keepdims=True)
    return jnp.where(is_poison, jnp.nan, original(images, *colors))

  monkeypatch.setattr(inputs, "train_batches", poisoned_batches)
  monkeypatch.setattr(normalize, "normalize", poisoned_normalize)


def test_a_step_on_nan_is_not_applied_and_the_run_goes_on(
  make_config, tmp_path, run, monkeypatch
):
  poison_step(monkeypatch, 3)
  config = make_config(
    "method=suponly",
    **{
      "checkpoint.every_steps": 1,
      "checkpoint.keep_last": 9,
      "train.max_bad_steps": 2,
    },
  )
  result, lines = run(config, tmp_path)
  assert result["step"] == 6 and np.isfinite(result["miou"])
  (line,) = [line for line in lines if "not applied" in line]
  assert line.startswith("step 3: ") and "loss/supervised is nan" in line
  assert line.endswith("step not applied (1 in a row, stops at 2)")
  before, bad, after = (state_of(config, tmp_path, n) for n in (2, 3, 4))
  assert bad.step == 3
  assert_bit_identical(
    (before.params, before.batch_stats, before.opt_state),
    (bad.params, bad.batch_stats, count_back(bad.opt_state)),
  )
  assert not trees_equal(after.params, bad.params)
  assert not (tmp_path / "bad_steps.json").exists()


def count_back(tree):
  """Counters of updates as they were one update before."""
  return jax.tree.map(
    lambda leaf: leaf - np.issubdtype(leaf.dtype, np.integer), tree
  )


def trees_equal(left, right):
  return jax.tree.all(jax.tree.map(np.array_equal, left, right))


def test_too_many_bad_steps_stop_the_run_with_a_report(make_config, tmp_path):
  config = make_config(
    "method=suponly",
    **{
      "optim.learning_rate": 1e37,
      "checkpoint.every_steps": 1,
      "train.max_bad_steps": 2,
    },
  )
  with pytest.raises(FloatingPointError) as caught:
    train.train_and_evaluate(config, tmp_path)
  message = str(caught.value)
  assert "loss/supervised is" in message or "grad/norm is" in message
  assert "2 steps in a row" in message and "last good checkpoint" in message
  assert f"see {tmp_path}/bad_steps.json" in message and "\n" not in message
  assert not (tmp_path / "result.json").exists()
  report = json.loads((tmp_path / "bad_steps.json").read_text())
  assert report["config"]["optim"]["learning_rate"] == 1e37
  first, second = report["steps"]
  assert second["step"] == first["step"] + 1
  assert set(first["metrics"]) >= {"loss/supervised", "grad/norm"}
  assert not np.isfinite([float(v) for v in first["metrics"].values()]).all()
  assert len(set(first["labeled"])) == config["data"]["batch_size_l"]
  assert "unlabeled" not in first


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"contrast.low_rank": 8}, "low_rank=8 with 8 classes"),
    ({"data.batch_size_l": 0}, "data.batch_size_l=0: must be >= 1"),
    ({"data.batch_size_u": 0}, "data.batch_size_u=0: must be >= 1"),
    ({"data.split": "17"}, "no split '17'"),
    ({"data.name": "nothing"}, "no prepared dataset 'nothing'"),
    ({"semi.reliable": "perhaps"}, "reliable='perhaps'"),
    ({"augment.mode": "blur"}, "augment.mode='blur'"),
    ({"model.encoder": "vgg"}, "model.encoder"),
    ({"loss.kind": "dice"}, "loss.kind='dice'"),
    ({"semi.supervised_epochs": 9}, "supervised_epochs=9"),
    ({"train.log_every_steps": 0}, "train.log_every_steps=0"),
    ({"contrast.positive": "all"}, "contrast.positive='all'"),
    ({"contrast.divide_by": "two"}, "contrast.divide_by='two'"),
    ({"decoder.rep_channels": 0}, "decoder.rep_channels=0"),
  ],
)
def test_bad_values_are_refused_before_anything_is_written(
  changes, words, make_config, tmp_path
):
  with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
    train.train_and_evaluate(make_config(**changes), tmp_path / "run")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run").exists()


def test_a_missing_pretrained_file_leaves_no_workdir(make_config, tmp_path):
  config = make_config(**{"model.pretrained": str(tmp_path / "none.npz")})
  with pytest.raises(FileNotFoundError, match="none.npz"):
    train.train_and_evaluate(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()
