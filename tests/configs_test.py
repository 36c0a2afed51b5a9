import pathlib
import runpy

import pytest

from u2pl_jax import methods
from u2pl_jax.methods import method as method_lib
from u2pl_jax.models import network
from u2pl_jax.runtime import workdir
from u2pl_jax.training import assemble
from u2pl_jax.training import options as training_options

# `folder` is of any dataset; see configs_folder_test.
FILES = sorted(
  path
  for path in pathlib.Path("configs").glob("*.py")
  if path.stem
  not in ("__init__", "common", "folder", "networks", "unimatch_common")
)
SPLITS = {
  "synthetic": ["24"],
  "camvid": ["1_16", "1_8", "1_4", "1_2"],
  "camvid_pretrained": ["1_16", "1_8", "1_4", "1_2"],
  "voc_animals": ["27", "53", "107", "213", "426"],
  "voc_animals_pretrained": ["27", "53", "107", "213", "426"],
  "voc": ["92", "183", "366", "732", "1464"],
  "voc_1464": ["1464"],
  "voc_aug": ["662", "1323", "2646", "5291"],
  "cityscapes": ["186", "372", "744", "1488"],
  "cityscapes_744": ["744"],
  "cityscapes_ael": ["186", "372", "744", "1488"],
  "voc_ael": ["92", "183", "366", "732", "1464"],
  "synthetic_rare": ["24"],
  "synthetic_balls": ["24"],
  "unimatch_voc": ["92", "183", "366", "732", "1464", "662", "1323", "2646"],
  "unimatch_cityscapes": ["186", "372", "744", "1488"],
  "unimatch_v2_voc": ["92", "183", "366", "732", "1464"],
  "unimatch_v2_cityscapes": ["186", "372", "744", "1488"],
  "unimatch_v2_ade20k": ["316", "631", "1263", "2526", "5052"],
}
# Whose default is another method than U2PL by the paper.
METHODS = {
  "unimatch_voc": ("unimatch", "mesh"),
  "unimatch_cityscapes": ("unimatch", "mesh"),
  "cityscapes_ael": ("u2pl_ael", "paper"),
  "voc_ael": ("u2pl_ael", "paper"),
  "unimatch_v2_voc": ("unimatch_v2", "mesh"),
  "unimatch_v2_cityscapes": ("unimatch_v2", "mesh"),
  "unimatch_v2_ade20k": ("unimatch_v2", "mesh"),
}


def load(name, arg=None):
  return runpy.run_path(f"configs/{name}.py")["get_config"](arg)


def flat(config):
  return workdir.flatten(config.to_dict())


def test_every_protocol_is_there():
  assert {path.stem for path in FILES} == set(SPLITS)


@pytest.mark.parametrize("name", SPLITS)
def test_default_is_u2pl_of_the_paper_or_what_its_name_says(name):
  config = load(name)
  expected = METHODS.get(name, ("u2pl", "paper"))
  assert (config.method, config.recipe) == expected
  assert config.is_locked


@pytest.mark.parametrize("name", SPLITS)
def test_the_network_can_be_built(name):
  network.create(load(name).to_dict(), num_classes=19)


@pytest.mark.parametrize(
  "name, split", [(n, s) for n, splits in SPLITS.items() for s in splits]
)
def test_takes_each_split(name, split):
  found = load(name, f"{split},method=suponly").data.split
  assert found.removeprefix("unimatch_") == split


@pytest.mark.parametrize("method", methods.names())
@pytest.mark.parametrize("name", SPLITS)
def test_every_section_is_that_of_its_options_class(name, method):
  config = load(name, f"method={method}").to_dict()
  classes = (*assemble.SECTIONS, *methods.find(method).OPTIONS)
  sections = {"model", "encoder", "decoder"} | {c.SECTION for c in classes}
  assert {k for k, v in config.items() if isinstance(v, dict)} == sections
  for section in (*classes, network.ModelOptions):
    assert section.read(config)
  assert training_options.RunOptions.read(config).method == method


def test_labels_alone_have_no_key_of_another_method():
  config = load("synthetic", "method=suponly")
  assert not {"semi", "contrast", "augment"} & set(config.keys())


@pytest.mark.parametrize("method", methods.names())
def test_recipes_set_the_same_keys_and_differ_in_each(method):
  recipes = methods.find(method).recipes(method_lib.Published())
  default, reference = recipes.values()
  assert list(recipes)[1] == "reference"
  assert default.keys() == reference.keys()
  assert all(default[key] != reference[key] for key in default)


@pytest.mark.parametrize("method", methods.names())
def test_recipe_changes_only_its_own_keys(method):
  paper = flat(load("voc", f"method={method}"))
  other = flat(load("voc", f"method={method},recipe=reference"))
  changed = {key for key in paper if paper[key] != other[key]}
  recipes = methods.find(method).recipes(method_lib.Published())
  assert changed == set(recipes["reference"]) | {"recipe"}


def test_the_defaults_of_a_method_are_those_of_the_paper():
  defaults = {}
  for section in methods.find("u2pl").OPTIONS:
    for name, value in section.defaults().items():
      defaults[section.key(name)] = value
  paper = methods.find("u2pl").recipes(method_lib.Published())["paper"]
  own = {key: value for key, value in paper.items() if key in defaults}
  assert own.items() <= defaults.items()


def test_reference_weight_is_divided_by_the_published_gpus():
  assert load("voc", "recipe=reference").contrast.weight == 1 / 4
  assert load("cityscapes", "recipe=reference").contrast.weight == 1 / 8


def test_reference_counts_hard_pixels_on_each_of_the_published_gpus():
  config = load("cityscapes", "method=suponly,recipe=reference")
  assert config.loss.ohem_min_kept == 800_000


def test_published_settings_of_unimatch():
  voc, city = (load(f"unimatch_{name}") for name in ("voc", "cityscapes"))
  assert voc.data.crop_size == (321, 321)
  assert (voc.data.batch_size_l, voc.data.batch_size_u) == (8, 8)
  assert (voc.optim.learning_rate, voc.optim.factors.head) == (0.001, 10)
  assert (voc.train.epochs, voc.consistency.threshold) == (80, 0.95)
  assert (voc.eval.protocol, voc.model.decoder) == ("whole", "deeplab_slim")
  assert (voc.encoder.output_stride, voc.encoder.pool_ceil) == (16, False)
  assert (city.optim.learning_rate, city.optim.factors.head) == (0.005, 1)
  assert (city.train.epochs, city.consistency.threshold) == (240, 0.0)
  assert (city.eval.windows, city.eval.crop_size) == ("cut", (801, 801))
  assert city.loss.ohem_min_kept == 800_000
  assert load("unimatch_cityscapes", "recipe=reference").consistency.groups == 4


def test_published_settings_of_unimatch_v2():
  for name, side, batch, epochs in (
    ("voc", 518, 16, 60), ("cityscapes", 798, 8, 180), ("ade20k", 518, 8, 60)
  ):  # fmt: skip
    config = load(f"unimatch_v2_{name}")
    assert config.data.crop_size == config.eval.crop_size == (side, side)
    assert (config.data.batch_size_l, config.data.batch_size_u) == (batch,) * 2
    assert (config.optim.kind, config.optim.learning_rate) == ("adamw", 5e-6)
    assert (config.optim.factors.head, config.optim.weight_decay) == (40, 0.01)
    assert (config.train.epochs, config.consistency.threshold) == (epochs, 0.95)
    assert (config.model.encoder, config.model.decoder) == (
      "dinov2_vitb14",
      "dpt",
    )
    assert config.unimatch_v2.ema_decay == 0.996
  assert load("unimatch_v2_cityscapes").eval.windows == "shifted"
  assert load("unimatch_v2_cityscapes").data.split == "unimatch_744"
  assert load("unimatch_v2_cityscapes").loss.kind == "ohem"


def test_lists_of_either_author():
  assert load("unimatch_cityscapes", "186").data.split == "unimatch_186"
  assert load("unimatch_cityscapes", "lists=u2pl,186").data.split == "186"
  assert load("unimatch_voc", "366").data.split == "366"
  assert load("unimatch_voc", "662").data.split == "unimatch_662"
  config = load("unimatch_voc", "662,lists=u2pl")
  assert (config.data.split, config.data.crop_size) == ("662", (513, 513))
  with pytest.raises(
    ValueError, match="lists=mine: must be one of unimatch, u2"
  ):
    load("unimatch_voc", "lists=mine")
  with pytest.raises(ValueError, match="'lists' is given twice"):
    load("unimatch_voc", "lists=u2pl,lists=u2pl")


def test_suponly_builds_no_representation_head():
  assert load("voc", "method=suponly").decoder.rep_channels == 0


def test_published_voc_settings():
  config = load("voc_1464")
  assert config.data.crop_size == (513, 513)
  assert (config.data.batch_size_l, config.data.batch_size_u) == (16, 16)
  assert (config.train.epochs, config.semi.supervised_epochs) == (80, 1)
  optimizer = config.optim
  assert optimizer.learning_rate == 0.001
  assert (optimizer.factors.head, optimizer.weight_decay) == (10, 1e-4)
  assert (config.loss.kind, config.decoder.aux_head) == ("ce", False)
  bank = config.contrast
  assert (bank.bank_capacity, bank.bank_capacity_class0) == (30_000, 50_000)


def test_published_cityscapes_settings():
  config = load("cityscapes_744")
  assert config.data.crop_size == (769, 769)
  assert (config.train.epochs, config.semi.supervised_epochs) == (200, 0)
  optimizer = config.optim
  assert optimizer.learning_rate == 0.01
  assert (optimizer.factors.head, optimizer.weight_decay) == (1, 5e-4)
  assert (config.loss.kind, config.decoder.aux_head) == ("ohem", True)
  assert (config.loss.ohem_threshold, config.loss.ohem_min_kept) == (
    0.7,
    100_000,
  )


def test_published_settings_of_ael_on_cityscapes_as_global_means():
  for split in SPLITS["cityscapes_ael"]:
    config = load("cityscapes_ael", f"{split},recipe=reference")
    optimizer, ael = config.optim, config.ael
    assert optimizer.learning_rate == 0.00125
    assert optimizer.learning_rate * optimizer.factors.head == 0.0125
    assert optimizer.weight_decay == 8e-4
    assert config.contrast.weight == 0.0125
    assert config.contrast.label_stack == 2
    assert (config.data.batch_size_l, config.data.batch_size_u) == (16, 8)
    assert (config.loss.kind, config.loss.ohem_min_kept) == ("ohem", 800_000)
    assert (config.decoder.aux_head, config.loss.aux_weight) == (True, 0.4)
    assert ael.excluded == ("road", "sidewalk", "building", "vegetation", "sky")
    # Half a pass over the list was an epoch there: 20 of 200.
    assert ael.contrast_start * config.train.epochs == 10
    assert config.semi.supervised_epochs == 0


def test_ael_on_cityscapes_by_the_paper():
  for split, unlabeled in (("186", 2789), ("1488", 1487)):
    config = load("cityscapes_ael", split)
    optimizer = config.optim
    assert (optimizer.learning_rate, optimizer.factors.head) == (0.01, 1.0)
    assert optimizer.weight_decay == 5e-4
    assert (config.contrast.weight, config.ael.excluded) == (0.1, ())
    steps = unlabeled // config.data.batch_size_u * config.train.epochs
    assert steps == pytest.approx(18_000, rel=0.01)


@pytest.mark.parametrize("recipe", ["paper", "reference"])
def test_ael_settings_for_voc(recipe):
  config = load("voc_ael", f"recipe={recipe}")
  assert config.data.crop_size == (513, 513)
  ael = config.ael
  assert (ael.component_area, ael.present_area) == (0.03, 0.03)
  assert (ael.copy_paste_draws, ael.confidence_threshold) == (1, 0.7)


@pytest.mark.parametrize(
  "arg, words",
  [
    ("method=fixmutch", "method=fixmutch: must be one of fixmatch, suponly, u"),
    ("recipe=mine", "recipe=mine: must be one of paper, reference"),
    ("1465", "split=1465: must be one of 1464"),
    ("split=1464,1464", "'split' is given twice"),
    ("size=3", "'size' is unknown"),
  ],
)
def test_a_wrong_argument_is_named(arg, words):
  with pytest.raises(ValueError, match=words):
    load("voc_1464", arg)


def test_another_encoder_brings_what_it_goes_with():
  config = load("voc", "366,encoder=dinov2_vitb14")
  assert (config.model.encoder, config.model.decoder) == (
    "dinov2_vitb14",
    "dpt",
  )
  assert (config.optim.kind, config.optim.learning_rate) == ("adamw", 5e-6)
  assert config.optim.factors.to_dict() == {"encoder": 1.0, "head": 40.0}
  assert config.optim.weight_decay == 0.01
  assert config.data.crop_size == config.eval.crop_size == (518, 518)
  assert config.decoder.rep_channels == 256
  network.create(config.to_dict(), num_classes=21)


def test_a_decoder_alone_or_an_encoder_of_the_same_family_changes_no_more():
  config = load("synthetic", "encoder=resnet34,method=suponly")
  assert config.encoder.width == 16 and config.data.crop_size == (65, 65)
  config = load("cityscapes", "decoder=deeplab")
  assert flat(config) == flat(load("cityscapes"))


def test_settings_of_a_part_that_is_gone_are_dropped():
  config = load("voc_animals_pretrained", "53,encoder=dinov2_vits14")
  assert config.model.pretrained == ""
  assert "output_stride" not in config.encoder
  assert config.data.crop_size == (224, 224)
  assert config.eval.crop_size == (252, 252)


@pytest.mark.parametrize(
  "arg, message",
  [
    ("encoder=vit", "model.encoder='vit': expected one of"),
    ("decoder=vit", "model.decoder='vit': expected one of"),
  ],
)
def test_unknown_parts_are_refused(arg, message):
  with pytest.raises(ValueError, match=message):
    load("voc", arg)
