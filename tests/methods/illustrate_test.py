"""What each method shows of a lesson, beside the batch and the step itself."""

import jax
import numpy as np
import pytest

from tests import tiny_run
from u2pl_jax import experiment, methods
from u2pl_jax.experiment import inputs, states
from u2pl_jax.methods import pictures
from u2pl_jax.training import feed

TOY = "tests.toy_method"
_STRONG = ("Strong view{}", "Pseudo-label{}", "Taught{}")
_TWO = tuple(title.format(f" {n}") for n in (1, 2) for title in _STRONG)
# Of unlabeled images.
TITLES = {
  "suponly": (),
  "u2pl": (
    ("Weak view", "Strong view", "Pseudo-label", "Taught")
    + ("Reliability", "Negatives")
  ),
  "u2pl_ael": (
    ("First image", "Second image", "Mixed image", "Taught")
    + ("Weight", "Negatives")
  ),
  "fixmatch": ("Weak view", "Strong view", "Pseudo-label", "Taught"),
  "unimatch": ("Weak view", "Taught, weak", *_TWO),
  "unimatch_v2": ("Weak view", *_TWO),
}
# Of untrained networks, which are sure of nothing.
SETTINGS = {
  "consistency.threshold": 0.13,
  "contrast.min_anchor_prob": 0.1,
  "semi.supervised_epochs": 0,
  "augment.probability": 1.0,
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


def start(data_dir, arg, **changes):
  """The experiment, its state at the start, and the first batch."""
  config = tiny_run.make_config(data_dir, arg)
  known = {
    key: value
    for key, value in SETTINGS.items()
    if key.split(".")[1] in config.get(key.split(".")[0], {})
  }
  config = tiny_run.make_config(data_dir, arg, **known, **changes)
  exp = experiment.create_experiment(config, devices=jax.devices()[:1])
  state = states.create_state(exp)
  batches = feed.Feed(inputs.train_batches(exp, 0), exp.programs, 0, state)
  return exp, state, batches.take()


def illustrate(exp, state, batch):
  """{source: {title: picture}}, and the groups."""
  groups = exp.programs.create_illustrate(exp.programs.phases[0])(state, batch)
  by_source = {
    group.source: {picture.title: picture for picture in group.pictures}
    for group in groups
  }
  return by_source, groups


def check_form(group, count, num_classes):
  """A group holds what `pictures` says it does, of so many images."""
  assert group.source in pictures.SOURCES and group.title
  titles = [picture.title for picture in group.pictures]
  assert len(set(titles)) == len(titles)
  for picture in group.pictures:
    values = picture.values
    assert len(values) == count, picture.title
    assert picture.note.endswith(".") and picture.kind in pictures.KINDS
    if picture.kind == "image":
      assert values.dtype == np.uint8 and values.shape[1:] == (33, 33, 3)
    elif picture.kind == "classes":
      assert set(np.unique(values)) <= {*range(num_classes), 255}
    elif picture.kind == "share":
      assert 0 <= values.min() and values.max() <= 1
    else:
      assert 0 <= values.min() and values.max() < len(picture.marks)
      assert {tone for _, tone in picture.marks} <= set(pictures.TONES)
    if picture.frame is not None:
      assert picture.frame.shape == (count, 33, 33)


@pytest.mark.parametrize("name", [*methods.names(), TOY])
def test_every_method_shows_what_it_teaches(data_dir, name):
  exp, state, batch = start(data_dir, f"method={name}")
  shown, groups = illustrate(exp, state, batch)
  batch = jax.device_get(batch)
  for group in groups:
    check_form(group, 8, exp.dataset.num_classes)
  if "" in shown:  # Of a method that says nothing about it.
    assert name == TOY and len(groups) == 2
    np.testing.assert_array_equal(
      groups[1].pictures[0].values, batch["image_u"]
    )
    return
  assert {"Image", "Label"} <= shown["labeled"].keys()
  pasted = shown["labeled"]["Image"].frame
  own = np.ones((8, 33, 33), bool) if pasted is None else ~pasted
  for title, array in (("Image", "image_l"), ("Label", "label_l")):
    values = shown["labeled"][title].values
    np.testing.assert_array_equal(values[own], batch[array][own])
  of = shown.get("unlabeled", {})
  assert tuple(of) == TITLES[name]
  for title, picture in of.items():
    if title in ("Weak view", "First image"):
      np.testing.assert_array_equal(picture.values, batch["image_u"])
    if title.startswith("Taught"):
      assert (picture.values != 255).any()
  if "Mixed image" in of:
    mixed, second = of["Mixed image"], of["Second image"].values
    assert mixed.frame.any() and not mixed.frame.all()
    np.testing.assert_array_equal(
      mixed.values,
      np.where(mixed.frame[..., None], second, batch["image_u"]),
    )


@pytest.mark.parametrize(
  "accumulate_steps", [1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_the_step_itself_is_shown(data_dir, accumulate_steps):
  """Shares of pixels in the pictures are those that the step measures."""
  size = 8 * accumulate_steps
  changes = {"data.batch_size_l": size, "data.batch_size_u": size}
  changes["optim.accumulate_steps"] = accumulate_steps
  exp, state, batch = start(data_dir, "", **changes)
  shown, groups = illustrate(exp, state, batch)
  for group in groups:
    check_form(group, 8, exp.dataset.num_classes)
  of = shown["unlabeled"]
  strong, own = of["Strong view"].values, ~of["Strong view"].frame
  weak = of["Weak view"].values
  np.testing.assert_array_equal(strong[own], weak[own])
  assert not own.all() and (strong[~own] != weak[~own]).any()
  if accumulate_steps > 1:
    np.testing.assert_array_equal(weak, jax.device_get(batch["image_u"])[::2])
    return
  kept = (of["Taught"].values != 255).mean()
  marks = of["Reliability"].values
  negatives = of["Negatives"].values
  labeled = shown["labeled"]["Negatives"].values
  _, metrics = exp.programs.create_train_step()(0, state, batch)
  assert float(metrics["semi/kept_fraction"]) == pytest.approx(kept, abs=1e-3)
  reliable = float(metrics["semi/reliable_fraction"])
  assert reliable == pytest.approx((marks == 0).mean(), abs=1e-3)
  num_keys = 8 * (negatives.sum() + labeled.sum())
  found = float(metrics["contrast/new_keys"])
  assert found == pytest.approx(num_keys, rel=0.01)
