import pathlib
import runpy

import pytest

from configs import common
from u2pl_jax.models.decoders import deeplab
from u2pl_jax.runtime import workdir

FILES = sorted(
  path for path in pathlib.Path("configs").glob("*.py") if path.stem != "common"
)
SPLITS = {
  "synthetic": ["24"],
  "camvid": ["1_16", "1_8", "1_4", "1_2"],
  "voc_animals": ["27", "53", "107", "213", "426"],
  "voc_animals_pretrained": ["27", "53", "107", "213", "426"],
  "voc": ["92", "183", "366", "732", "1464"],
  "voc_1464": ["1464"],
  "voc_aug": ["662", "1323", "2646", "5291"],
  "cityscapes": ["186", "372", "744", "1488"],
  "cityscapes_744": ["744"],
}


def load(name, arg=None):
  return runpy.run_path(f"configs/{name}.py")["get_config"](arg)


def flat(config):
  return workdir.flatten(config.to_dict())


def test_every_protocol_is_there():
  assert {path.stem for path in FILES} == set(SPLITS)


@pytest.mark.parametrize("name", SPLITS)
def test_default_is_u2pl_of_the_paper(name):
  config = load(name)
  assert (config.method, config.recipe) == ("u2pl", "paper")
  assert config.is_locked


@pytest.mark.parametrize("name", SPLITS)
def test_the_network_can_be_built(name):
  settings = load(name).model.to_dict()
  del settings["pretrained"]
  deeplab.create_model(num_classes=19, **settings)


@pytest.mark.parametrize(
  "name, split", [(n, s) for n, splits in SPLITS.items() for s in splits]
)
def test_takes_each_split(name, split):
  assert load(name, f"{split},method=suponly").data.split == split


@pytest.mark.parametrize("name", SPLITS)
def test_has_the_keys_of_base_and_no_others(name):
  assert flat(load(name)).keys() == flat(common.base()).keys()


def test_recipes_set_the_same_keys_and_differ_in_each():
  paper, reference = common.RECIPES["paper"], common.RECIPES["reference"]
  assert paper.keys() == reference.keys()
  assert all(paper[key] != reference[key] for key in paper)


@pytest.mark.parametrize("recipe", common.RECIPES)
def test_recipe_changes_only_its_own_keys(recipe):
  default, other = flat(load("voc")), flat(load("voc", f"recipe={recipe}"))
  changed = {key for key in default if default[key] != other[key]}
  assert changed <= set(common.RECIPES[recipe]) | {"recipe"}


def test_reference_weight_is_divided_by_the_published_gpus():
  assert load("voc", "recipe=reference").contrast.weight == 1 / 4
  assert load("cityscapes", "recipe=reference").contrast.weight == 1 / 8


def test_suponly_builds_no_representation_head():
  assert load("voc", "method=suponly").model.rep_channels == 0


def test_published_voc_settings():
  config = load("voc_1464")
  assert config.data.crop_size == (513, 513)
  assert (config.data.batch_size_l, config.data.batch_size_u) == (16, 16)
  assert (config.train.epochs, config.semi.supervised_epochs) == (80, 1)
  optimizer = config.optim
  assert optimizer.learning_rate == 0.001
  assert (optimizer.head_factor, optimizer.weight_decay) == (10, 1e-4)
  assert (config.loss.kind, config.model.aux_head) == ("ce", False)
  bank = config.contrast
  assert (bank.bank_capacity, bank.bank_capacity_class0) == (30_000, 50_000)


def test_published_cityscapes_settings():
  config = load("cityscapes_744")
  assert config.data.crop_size == (769, 769)
  assert (config.train.epochs, config.semi.supervised_epochs) == (200, 0)
  optimizer = config.optim
  assert optimizer.learning_rate == 0.01
  assert (optimizer.head_factor, optimizer.weight_decay) == (1, 5e-4)
  assert (config.loss.kind, config.model.aux_head) == ("ohem", True)
  assert (config.loss.ohem_threshold, config.loss.ohem_min_kept) == (
    0.7,
    100_000,
  )
