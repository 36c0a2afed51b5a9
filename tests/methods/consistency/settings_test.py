"""Settings that do not go together are refused in one line that names a key."""

import types

import pytest

from tests.parity import unimatch_networks
from u2pl_jax import methods
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import timeline
from u2pl_jax.methods.consistency import settings, views

MODEL = unimatch_networks.create({"version": 1, "K": 4})
NAMES = ("fixmatch", "unimatch", "unimatch_v2")


def make_parts(*, batch_size_l=4, batch_size_u=4, steps=1, model=MODEL):
  return method_lib.Parts(
    model=model,
    supervised_loss=lambda outputs, labels: outputs["logits"].mean(),
    timeline=timeline.Timeline(1, 1),
    class_names=("a", "b"),
    num_unlabeled=8,
    batch_size_l=batch_size_l,
    batch_size_u=batch_size_u,
    accumulate_steps=steps,
  )


def create(name, parts, **changes):
  """The phases of a method, with keys like `consistency__groups`."""
  module = methods.find(name)
  made = []
  for section in module.OPTIONS:
    prefix = f"{section.SECTION}__"
    own = {
      key.removeprefix(prefix): value
      for key, value in changes.items()
      if key.startswith(prefix)
    }
    made.append(section.make(section.defaults() | own))
  return module.create(parts, *made)


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_probability(threshold):
  with pytest.raises(ValueError, match=r"consistency.threshold=.*in \[0, 1\]"):
    settings.ConsistencyOptions(threshold=threshold)


@pytest.mark.parametrize("name", NAMES)
def test_groups_must_divide_the_batch(name):
  with pytest.raises(ValueError) as error:
    create(name, make_parts(batch_size_l=6), consistency__groups=4)
  assert str(error.value) == (
    "consistency.groups=4: data.batch_size_l=6 must be a multiple of 4, groups"
    " times optim.accumulate_steps"
  )


@pytest.mark.parametrize("name", NAMES)
def test_partners_within_a_batch_need_two_images(name):
  with pytest.raises(ValueError, match="data.batch_size_u=1: CutMix and compl"):
    create(name, make_parts(batch_size_l=1, batch_size_u=1))
  with pytest.raises(ValueError, match="set it to 8 or more"):
    create(name, make_parts(steps=2), consistency__groups=2)


def test_an_image_can_be_its_own_partner():
  parts = make_parts(batch_size_l=1, batch_size_u=1)
  (phase,) = create("unimatch", parts, unimatch__partner="same_image")
  assert phase.supply.second == "same" and phase.network == "student"


def test_partners_of_the_same_image_need_labels_by_the_student():
  with pytest.raises(ValueError, match="fixmatch.partner=same_image: only"):
    create("fixmatch", make_parts(), fixmatch__partner="same_image")


@pytest.mark.parametrize(
  "name,key",
  [
    ("unimatch", "unimatch.perturbed_weight=0.25"),
    ("unimatch_v2", "unimatch_v2.complementary=True"),
  ],
)
def test_features_that_cannot_be_dropped_are_named(name, key):
  blind = types.SimpleNamespace(feature_widths=lambda: (None, None))
  with pytest.raises(ValueError, match=f"^{key}: this encoder has no features"):
    create(name, make_parts(model=blind))


def test_without_perturbation_any_encoder_will_do():
  blind = types.SimpleNamespace(feature_widths=lambda: (None, None))
  parts = make_parts(model=blind)
  assert create("unimatch", parts, unimatch__perturbed_weight=0.0)
  assert create("unimatch_v2", parts, unimatch_v2__complementary=False)


@pytest.mark.parametrize(
  "changes,match",
  [
    ({"blur_sigma": (0.1, 3.0)}, "views.blur_sigma"),
    ({"blur_sigma": (2.0, 1.0)}, "the first must not be the larger one"),
    ({"box_area": (0.5, 0.4)}, "views.box_area"),
    ({"hue": 0.6}, "views.hue=0.6"),
  ],
)
def test_ranges_of_views(changes, match):
  with pytest.raises(ValueError, match=match):
    views.ViewOptions(**changes)


def test_the_reference_counts_what_one_gpu_had():
  published = method_lib.Published(num_gpus=4, batch_size_l=8)
  recipes = methods.find("unimatch").recipes(published)
  assert list(recipes) == ["mesh", "reference"]
  mesh, reference = recipes.values()
  assert (mesh["consistency.groups"], reference["consistency.groups"]) == (1, 4)
  assert mesh["loss.ohem_min_kept"] == 800_000
  assert reference["loss.ohem_min_kept"] == 200_000
  assert reference["unimatch.partner"] == "same_image"
