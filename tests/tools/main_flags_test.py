"""The flags of main.py: what they take, and a line for each mistake."""

import json
import sys

import pytest
from absl import flags

from u2pl_jax.tools import main_flags

CONFIG = "--config=configs/synthetic.py"

# ml_collections loads files in a way that Python is about to drop.
pytestmark = pytest.mark.filterwarnings(
  r"ignore:the load_module\(\) method:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def fresh_module(monkeypatch):
  """ml_collections loads each file into the module of the one before."""
  monkeypatch.delitem(sys.modules, "config_config", raising=False)


def parse(*words):
  """The config of a command line, parsed apart from the process's flags."""
  argv = ["main.py", *words]
  values = flags.FlagValues()
  flags.DEFINE_string("workdir", None, "", values)
  holder = main_flags.define_config(values, argv)
  main_flags.parse(argv, values)
  return holder.value


def test_accepts_arguments_and_known_keys():
  config = parse(
    f"{CONFIG}:recipe=reference", "--config.encoder.width=8", "--workdir=x"
  )
  assert (config.recipe, config.encoder.width) == ("reference", 8)
  assert config.is_locked


def test_a_name_means_the_config_of_this_package(tmp_path, monkeypatch):
  expected = parse("--config=configs/voc.py:366,method=unimatch")
  monkeypatch.chdir(tmp_path)
  sys.modules.pop("config_config")
  assert parse("--config=voc:366,method=unimatch") == expected


def test_accepts_a_value_in_the_next_word():
  assert (
    parse("--config", "configs/synthetic.py", "--config.seed", "3").seed == 3
  )


def test_accepts_booleans_without_a_value():
  assert parse(CONFIG, "--config.encoder.multi_grid").encoder.multi_grid
  assert not parse(CONFIG, "--noconfig.encoder.multi_grid").encoder.multi_grid


def test_a_tilde_is_the_home_in_every_flag(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "mine.py").write_text(
    "from configs import synthetic\n"
    "def get_config(arg=None):\n"
    "  return synthetic.get_config(arg)\n"
  )
  argv = ["main.py", "--config=~/mine.py", "--workdir=~/run"]
  argv += ["--config.data.data_dir=~/data", "--config.model.pretrained", "~/w"]
  values = flags.FlagValues()
  flags.DEFINE_string("workdir", None, "", values)
  holder = main_flags.define_config(values, argv)
  main_flags.parse(argv, values)
  assert values.workdir == f"{tmp_path}/run"
  assert holder.value.data.data_dir == f"{tmp_path}/data"
  assert holder.value.model.pretrained == f"{tmp_path}/w"


def test_the_file_is_executed_once(tmp_path):
  path, log = tmp_path / "logged.py", tmp_path / "log"
  path.write_text(
    "from configs import common\n"
    f"with open({str(log)!r}, 'a') as file: file.write('loaded ')\n"
    "def get_config(arg=None):\n"
    "  return common.make_config(arg, splits=('24',), settings={})\n"
  )
  assert parse(f"--config={path}", "--config.seed=7").seed == 7
  assert log.read_text() == "loaded "


@pytest.mark.parametrize(
  "argv, words",
  [
    ([], "--config=NAME and --workdir=DIR are missing; e.g. main.py --config"),
    (["--workdir=x"], "--config=NAME is missing"),
    (["--config.seed=1"], "--config=NAME is missing"),
    ([CONFIG, CONFIG], "synthetic.py: given twice"),
    (["--config=configs/none.py"], "configs/none.py: no such file"),
    (
      ["--config=configs/common.py"],
      "the file defines no get_config",
    ),
    ([f"{CONFIG}:17"], "split=17: must be one of 24"),
    ([f"{CONFIG}:method=magic"], "method=magic: must be one of"),
    ([f"{CONFIG}:color=red"], "'color' is unknown"),
    ([f"{CONFIG}:24,24"], "'split' is given twice"),
    (
      [CONFIG, "--config.encoder.widht=8"],
      "unknown config key 'encoder.widht'; the nearest is 'encoder.width'",
    ),
    (
      [f"{CONFIG}:method=suponly", "--config.semi.ema_decay=0.5"],
      "unknown config key 'semi.ema_decay'; the nearest is",
    ),
    ([CONFIG, "--config.sede", "1"], "the nearest is 'seed'"),
    (
      [CONFIG, "--config.seed=1", "--config.batch_size_l=8"],
      "'batch_size_l'; the nearest is 'data.batch_size_l'",
    ),
    ([CONFIG, "--config.seed=one"], "--config.seed=one: invalid literal"),
    (["--config.seed=1", CONFIG], "--config.seed=1 in argv before"),
    ([CONFIG, "--config.recipe=reference"], "synthetic.py:recipe=VALUE"),
    ([CONFIG, "--config.method=suponly"], "synthetic.py:method=VALUE"),
    ([CONFIG, "--wrkdir=x"], "Did you mean: workdir"),
    ([CONFIG, "x.safetensors"], "unexpected argument 'x.safetensors'"),
  ],
)
def test_refuses_in_one_line(argv, words):
  with pytest.raises((ValueError, FileNotFoundError)) as caught:
    parse(*argv)
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["None.nothing", "1 + ''", "{}['absent']"])
def test_faults_in_the_code_of_a_config_keep_their_traceback(fault, tmp_path):
  path = tmp_path / "faulty.py"
  path.write_text(f"def get_config(arg=None):\n  return {fault}\n")
  with pytest.raises(Exception) as caught:
    parse(f"--config={path}")
  assert not isinstance(caught.value, ValueError)


_AUTOMATIC = """
from ml_collections import config_dict

AUTOMATIC = {
  "data.name": "", "data.size": (0, 0), "data.batch": 0, "of.another": -1
}

def get_config(arg=None):
  data = {"name": "", "size": (0, 0), "batch": 0, "other": 0}
  return config_dict.ConfigDict({"seed": 0, "data": data})

def complete(config):
  data = config["data"]
  data["name"] = data["name"] or "found"
  data["size"] = data["size"] if data["size"] != (0, 0) else (64, 48)
  data["batch"] = data["batch"] or 4
  return config
"""


@pytest.fixture
def complete(tmp_path):
  """complete(*words) of a config file that leaves settings to the data."""
  path = tmp_path / "automatic.py"
  path.write_text(_AUTOMATIC)

  def call(*words, workdir=None):
    argv = ["main.py", f"--config={path}", *words]
    values = flags.FlagValues()
    holder = main_flags.define_config(values, argv)
    main_flags.parse(argv, values)
    config = holder.value.to_dict()
    asked = repr(config)
    completed = main_flags.complete(config, workdir, values)
    assert repr(config) == asked  # Left as it was.
    return completed

  return call


def test_a_config_file_fills_in_what_the_command_line_leaves(complete, capsys):
  data = {"name": "found", "size": (64, 48), "batch": 4, "other": 0}
  assert complete() == {"seed": 0, "data": data}
  line = "automatic.py: data.name=found data.size=(64,48) data.batch=4\n"
  assert capsys.readouterr().out.endswith(line)
  assert complete("--config.data.batch=2", "--config.data.size=(32,32)") == {
    "seed": 0,
    "data": data | {"batch": 2, "size": (32, 32)},
  }


def test_a_run_goes_on_with_the_values_it_began_with(complete, tmp_path):
  run = tmp_path / "run"
  saved = {"name": "", "size": [96, 80], "batch": 8, "other": 5}
  (run / "checkpoints").mkdir(parents=True)
  (run / "config.json").write_text(json.dumps({"seed": 3, "data": saved}))
  # Of a start that came to nothing.
  assert complete(workdir=str(run))["data"]["size"] == (64, 48)
  (run / "checkpoints" / "12").mkdir()
  assert complete("--config.data.batch=2", workdir=str(run)) == {
    "seed": 0,
    "data": {"name": "found", "size": (96, 80), "batch": 2, "other": 0},
  }


def test_other_config_files_are_complete(tmp_path):
  values = flags.FlagValues()
  holder = main_flags.define_config(values, ["main.py", CONFIG])
  main_flags.parse(["main.py", CONFIG], values)
  config = holder.value.to_dict()
  assert main_flags.complete(config, str(tmp_path), values) == config


@pytest.mark.parametrize(
  "text, steps", [(None, None), ("0:1", (0, 1)), ("100:105", (100, 105))]
)
def test_reads_the_steps_to_profile(text, steps):
  assert main_flags.parse_profile(text) == steps


@pytest.mark.parametrize("text", ["", "5", "5:", "7:7", "9:8", "-1:3", "a:b"])
def test_refuses_other_steps_in_one_line(text):
  with pytest.raises(ValueError, match=f"--profile={text}: must be START:STOP"):
    main_flags.parse_profile(text)


FLAGS = {
  "workdir": "x",
  "dry_run": False,
  "topology": None,
  "mode": "train",
  "profile": None,
  "state": None,
  "save_predictions": "",
  "weights": None,
}


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"workdir": None, "dry_run": True},
    {"workdir": None, "dry_run": True, "topology": "v5e:4x4"},
    {"profile": "1:2"},
    {"mode": "eval"},
    {"mode": "eval", "state": "student", "save_predictions": "index"},
    {"mode": "eval", "weights": "net", "workdir": None},
  ],
)
def test_accepts_flags_that_go_together(changes):
  main_flags.check_together(FLAGS | changes)


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"workdir": None}, "--workdir=DIR is missing"),
    ({"workdir": "", "mode": "eval"}, "--workdir=DIR is missing"),
    ({"profile": "1:2", "mode": "eval"}, "--profile goes with training"),
    ({"profile": "1:2", "dry_run": True}, "--profile goes with training"),
    ({"profile": "1:2", "workdir": "gs://b/run"}, "a local folder, .*gs://b"),
    ({"topology": "v5e:4x4"}, "--topology goes with --dry_run"),
    ({"mode": "eval", "dry_run": True}, "leave --mode=eval out"),
    ({"state": "student"}, "--state goes with --mode=eval"),
    ({"save_predictions": "index"}, "--save_predictions goes with --mode=eval"),
    ({"weights": "net"}, "by --config.model.pretrained"),
    ({"mode": "eval", "weights": "net"}, "--workdir goes with a run"),
    (
      {"mode": "eval", "weights": "net", "workdir": "", "state": "student"},
      "--state goes with a run",
    ),
  ],
)
def test_refuses_flags_that_do_not_go_together(changes, words):
  with pytest.raises(ValueError, match=words):
    main_flags.check_together(FLAGS | changes)
