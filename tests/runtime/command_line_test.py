import pytest

from u2pl_jax.runtime import command_line

CONFIG = "--config=configs/synthetic.py"


def check(*argv):
  command_line.check_config_flags(argv)


def test_accepts_arguments_and_known_keys():
  check(f"{CONFIG}:recipe=reference", "--config.model.width=8", "--workdir=x")


def test_accepts_a_value_in_the_next_word():
  check("--config", "configs/synthetic.py", "--config.seed", "3")


@pytest.mark.parametrize(
  "argv, words",
  [
    (["--workdir=x"], "--config is given 0 times"),
    ([CONFIG, CONFIG], "given 2 times"),
    (["--config=configs/none.py"], "configs/none.py: no such file"),
    ([f"{CONFIG}:17"], "split must be one of 24"),
    ([f"{CONFIG}:method=magic"], "method must be one of u2pl, suponly"),
    ([f"{CONFIG}:color=red"], "'color' is unknown"),
    ([f"{CONFIG}:24,24"], "'split' is given twice"),
    (
      [CONFIG, "--config.model.widht=8"],
      "unknown config key 'model.widht'; the nearest is 'model.width'",
    ),
    ([CONFIG, "--config.sede", "1"], "the nearest is 'seed'"),
    ([CONFIG, "--config.recipe=reference"], "synthetic.py:recipe=VALUE"),
  ],
)
def test_refuses_in_one_line(argv, words):
  with pytest.raises((ValueError, FileNotFoundError)) as caught:
    check(*argv)
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)


def test_refuses_a_file_without_get_config(tmp_path):
  path = tmp_path / "empty.py"
  path.write_text("")
  with pytest.raises(ValueError, match="defines no get_config"):
    check(f"--config={path}")


@pytest.mark.parametrize(
  "text, steps", [(None, None), ("0:1", (0, 1)), ("100:105", (100, 105))]
)
def test_reads_the_steps_to_profile(text, steps):
  assert command_line.parse_profile(text) == steps


@pytest.mark.parametrize("text", ["", "5", "5:", "7:7", "9:8", "-1:3", "a:b"])
def test_refuses_other_steps_in_one_line(text):
  with pytest.raises(ValueError, match=f"--profile={text}: must be START:STOP"):
    command_line.parse_profile(text)


FLAGS = {
  "workdir": "x",
  "dry_run": False,
  "mode": "train",
  "profile": None,
  "state": None,
  "save_predictions": "",
}


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"workdir": None, "dry_run": True},
    {"profile": "1:2"},
    {"mode": "eval"},
    {"mode": "eval", "state": "student", "save_predictions": "index"},
  ],
)
def test_accepts_flags_that_go_together(changes):
  command_line.check_together(FLAGS | changes)


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"workdir": None}, "--workdir=DIR is missing"),
    ({"workdir": "", "mode": "eval"}, "--workdir=DIR is missing"),
    ({"profile": "1:2", "mode": "eval"}, "--profile goes with training"),
    ({"profile": "1:2", "dry_run": True}, "--profile goes with training"),
    ({"profile": "1:2", "workdir": "gs://b/run"}, "a local folder, .*gs://b"),
    ({"mode": "eval", "dry_run": True}, "leave --mode=eval out"),
    ({"state": "student"}, "--state goes with --mode=eval"),
    ({"save_predictions": "index"}, "--save_predictions goes with --mode=eval"),
  ],
)
def test_refuses_flags_that_do_not_go_together(changes, words):
  with pytest.raises(ValueError, match=words):
    command_line.check_together(FLAGS | changes)


@pytest.mark.parametrize("kind", [ValueError, OSError, FloatingPointError])
def test_our_errors_end_the_program_with_a_line(kind):
  with pytest.raises(SystemExit) as caught, command_line.one_line_errors():
    raise kind("no such thing")
  assert caught.value.code == "error: no such thing"


@pytest.mark.parametrize("error", [ValueError("two\nlines"), KeyError("key")])
def test_other_errors_go_their_way(error):
  with pytest.raises(type(error)), command_line.one_line_errors():
    raise error
