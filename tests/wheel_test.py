"""The wheel, installed and used as a stranger would, outside the repository."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests import end_to_end_test
from u2pl_jax.tools import shipped_configs

pytestmark = pytest.mark.slow

PACKAGES = ("configs", "data_prep", "u2pl_jax")
# Of the project, beside the packages, that a wheel is made of.
FILES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")


def list_files(root):
  """What the packages in a folder consist of."""
  return {
    str(path.relative_to(root))
    for package in PACKAGES
    for path in (root / package).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }


def call(*command, cwd, check=True):
  """What a command prints; it finds nothing of the repository by itself."""
  hidden = ("PYTHONPATH", "XLA_FLAGS")
  env = {k: v for k, v in os.environ.items() if k not in hidden}
  finished = subprocess.run(
    [str(word) for word in command],
    cwd=cwd,
    env=env | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=600,
  )
  if check:
    assert finished.returncode == 0, finished.stdout + finished.stderr
  return finished


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """Built of a copy, so that nothing is left in the repository."""
  source = tmp_path_factory.mktemp("source")
  for name in PACKAGES:
    shutil.copytree(
      name, source / name, ignore=shutil.ignore_patterns("__pycache__")
    )
  for name in FILES:
    shutil.copy(name, source)
  out = tmp_path_factory.mktemp("wheel")
  options = ("--no-deps", "--no-build-isolation", "--quiet")
  call(
    *(sys.executable, "-m", "pip", "wheel", ".", *options, "-w", out),
    cwd=source,
  )
  (path,) = out.glob("*.whl")
  return path


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
  """A folder with a virtual environment that has the wheel.

  What the wheel depends on comes from the environment of the tests.
  """
  folder = tmp_path_factory.mktemp("elsewhere")
  call(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
  (packages,) = folder.glob("venv/lib/python*/site-packages")
  ours = [path for path in sys.path if path.endswith("-packages")]
  (packages / "dependencies.pth").write_text("\n".join(ours) + "\n")
  pip = (sys.executable, "-m", "pip", "--python", folder / "venv/bin/python")
  call(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
  return folder


@pytest.fixture(scope="module")
def u2pl(place):
  """u2pl(*words) runs the installed command in `place`."""

  def run(*words, **options):
    command = place / "venv/bin/u2pl-jax"
    return call(command, *words, cwd=place, **options)

  return run


def test_the_wheel_holds_every_file_of_the_packages(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
  held = {name for name in names if ".dist-info/" not in name}
  assert held == list_files(pathlib.Path.cwd())


def test_the_installed_packages_are_used(place):
  code = "import configs, data_prep, u2pl_jax; print(u2pl_jax.__file__)"
  printed = call(place / "venv/bin/python", "-c", code, cwd=place).stdout
  assert printed.startswith(str(place / "venv/lib"))


def test_every_shipped_config_is_found_by_name(place):
  code = (
    "from u2pl_jax.tools import shipped_configs\n"
    "import runpy\n"
    "for name in shipped_configs.names():\n"
    "  get_config = runpy.run_path(shipped_configs.find(name))['get_config']\n"
    "  get_config('mine' if name == 'folder' else None)\n"
    "  print(name)\n"
  )
  printed = call(place / "venv/bin/python", "-c", code, cwd=place).stdout
  assert tuple(printed.split()) == shipped_configs.names()


def test_from_scenes_to_masks_report_and_program(place, u2pl):
  """Every command but those that need published data."""
  size = ("--num_labeled=16", "--num_unlabeled=17", "--num_val=9")
  u2pl("prepare", "synthetic", "--data_dir=data", "--name=scenes", *size)
  settings = end_to_end_test.TINY | {
    "data.name": "scenes",
    "data.split": 16,
    "data.crop_size": "(33,33)",
    "eval.crop_size": "(33,33)",
  }
  config = ["--config=synthetic", "--workdir=run"]
  config += [f"--config.{key}={value}" for key, value in settings.items()]
  u2pl("train", *config)
  result = json.loads((place / "run/result.json").read_text())
  assert result["step"] == 4
  printed = u2pl("evaluate", *config, "--config.eval.protocol=whole").stdout
  assert "mIoU" in printed
  photos = place / "photos"
  photos.mkdir()
  shutil.copy("docs/synthetic.png", photos)
  u2pl("predict", "--workdir=run", "--images=photos", "--out=out")
  assert (place / "out/masks/synthetic.png").exists()
  u2pl("report", "--workdir=run")
  assert (place / "run/report.html").exists()
  u2pl("export", "--workdir=run", "--out=net.stablehlo")
  assert (place / "net.stablehlo").exists()


def test_mistakes_are_one_line(u2pl):
  for words, expected in (
    (["tran"], "unknown command 'tran'; the nearest is 'train'"),
    (["train", "--config=vox", "--workdir=x"], "--config=vox: no such file"),
    (["prepare", "voc", "--root=x", "--data_dir=x"], "x"),
  ):
    finished = u2pl(*words, check=False)
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith("error: ") and expected in line
