"""Small runs compiled by the compilers of TPUs and GPUs that are not there.

Each in a process of its own: libtpu takes one process at a time.
"""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests import tiny_run

needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason='needs libtpu: pip install "jax[tpu]"',
)
needs_cuda = pytest.mark.skipif(
  not any(
    importlib.util.find_spec(f"jax_{version}_plugin")
    for version in ("cuda12", "cuda13")
  ),
  reason='needs JAX\'s CUDA plugin: pip install "jax[cuda12]"',
)
pytestmark = pytest.mark.slow

# A resize as in a step, with as many channels as VOC and Cityscapes have
# classes; of the size of a map, so that an axis is not split into whole tiles.
RESIZE = """
import jax, jax.numpy as jnp
jax.config.update("jax_platforms", "cpu")
from u2pl_jax.ops import resize
from u2pl_jax.runtime import sharding, topology
mesh = sharding.create_mesh(devices=topology.create("h100:1").devices)
split = sharding.split_batch(mesh)
def loss(x):
  return jnp.sum(jax.nn.log_softmax(resize.resize_bilinear(x, (513, 513))))
for channels in (19, 21, 256):
  x = jax.ShapeDtypeStruct((4, 129, 129, channels), jnp.float32, sharding=split)
  lowered = jax.jit(jax.value_and_grad(loss)).lower(x)
  for triton in (True, False):
    lowered.compile({"xla_gpu_enable_triton_gemm": triton})
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


def run(*argv):
  return subprocess.run(
    [sys.executable, *argv],
    env=os.environ | {"XLA_FLAGS": ""},
    capture_output=True,
    text=True,
    timeout=600,
  )


def dry_run(data_dir, topology, **changes):
  flags = tiny_run.make_flags(data_dir, "u2pl", **changes)
  return run("main.py", *flags, "--dry_run", f"--topology={topology}")


def numbers(pattern, text):
  return [
    float(number.replace(",", ""))
    for match in re.finditer(pattern, text)
    for number in match.groups()
  ]


def check(finished, chip, devices):
  text = finished.stdout
  assert finished.returncode == 0, finished.stderr
  assert f"{devices} x " in text
  assert text.count(f"MB of {chip}") == 2
  for name in ("supervised", "semi"):
    assert re.search(rf"{name} step, compiled in [\d.]+ s; a device", text)
  bounds = numbers(
    r"at least ([\d.,]+) ms, a bound: ([\d.,]+) ms .* ([\d.,]+) ms at", text
  )
  assert len(bounds) == 6
  assert bounds[0] == max(bounds[1:3]) and bounds[3] == max(bounds[4:])
  assert min(numbers(r"needs +([\d.,]+) MB", text)) > 0


@needs_libtpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiles_for_a_tpu(data_dir, dtype):
  finished = dry_run(data_dir, "v5e:2x4", **{"model.dtype": dtype})
  check(finished, "TPU v5e", 8)
  assert "all-reduce" in finished.stdout
  assert f"of {dtype}" in finished.stdout


@needs_libtpu
def test_compiles_for_a_tpu_with_the_state_in_parts(data_dir):
  check(dry_run(data_dir, "v5e:2x2", mesh="(2, 2)"), "TPU v5e", 4)


@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiles_for_a_gpu(data_dir, dtype):
  finished = dry_run(data_dir, "h100:1", **{"model.dtype": dtype})
  check(finished, "NVIDIA H100 SXM", 1)
  assert "sends     nothing" in finished.stdout


@needs_cuda
def test_compiles_for_several_gpus(data_dir):
  finished = dry_run(data_dir, "a100_40:8")
  check(finished, "NVIDIA A100 40GB", 8)
  assert "all-reduce" in finished.stdout


@needs_cuda
def test_a_resize_compiles_with_triton_and_without():
  finished = run("-c", RESIZE)
  assert finished.returncode == 0, finished.stderr
