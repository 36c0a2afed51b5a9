import pytest

from u2pl_jax import command_line

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
