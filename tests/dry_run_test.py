"""What a dry run says, beside what a run takes."""

import re

import jax
import numpy as np
import pytest

from tests import tiny_run
from u2pl_jax import dry_run, experiment
from u2pl_jax.runtime import collectives, forecast, topology


@pytest.fixture(scope="module")
def make_experiment(tmp_path_factory):
  folder = tiny_run.make_dataset(tmp_path_factory.mktemp("data"))

  def make(**changes):
    return tiny_run.create(folder, **changes)

  return make


@pytest.fixture(scope="module")
def described(make_experiment):
  """The experiment, lines about it, and bytes alive on devices after them."""
  exp = make_experiment()
  before = sum(array.nbytes for array in jax.live_arrays())
  text = "\n".join(dry_run.describe(exp))
  return exp, text, sum(array.nbytes for array in jax.live_arrays()) - before


def megabytes(text, pattern):
  return [
    round(float(number.replace(",", "")) * 1e6)
    for number in re.search(pattern, text).groups()
  ]


def bytes_on_first_device(tree):
  return sum(
    shard.data.nbytes
    for leaf in jax.tree.leaves(tree)
    for shard in leaf.addressable_shards
    if shard.device == jax.devices()[0]
  )


def test_says_what_the_run_is(described):
  _, text, _ = described
  assert "8 x cpu (data 8, fsdp 1) of 1 process(es)" in text
  assert "16 labeled, 17 unlabeled images; 8 + 8 a step" in text
  assert "2 batches an epoch, 3 epochs: 6, 2 supervised, 4 semi" in text


def test_counts_the_parameters(described):
  exp, text, _ = described
  made = exp.model.variable_shapes()
  encoder, rest = (
    sum(leaf.size for leaf in jax.tree.leaves(made["params"][part]))
    for part in ("encoder", "decoder")
  )
  assert f"{encoder + rest:,}: encoder {encoder:,}, rest {rest:,}" in text


def test_state_bytes_are_those_of_a_real_state(make_experiment):
  # Wide enough for some of it to be split.
  exp = make_experiment(mesh=(2, 4), **{"encoder.width": 16})
  shapes = exp.programs.abstract_state(exp.programs.phases[1])
  text = "\n".join(dry_run.describe_state(shapes))
  state = jax.tree.map(
    lambda leaf: jax.device_put(
      np.zeros(leaf.shape, leaf.dtype), leaf.sharding
    ),
    shapes,
  )
  parts = (
    state,
    state.student,
    state.opt_state,
    state.memory.teacher,
    state.memory.bank,
  )
  number = r"([\d.,]+) MB"
  assert megabytes(
    text,
    f"{number} a device: student {number}, optimizer {number},"
    f" teacher {number}, bank {number}",
  ) == [round(bytes_on_first_device(part), -3) for part in parts]
  whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  assert bytes_on_first_device(state) < 0.5 * whole


def test_nothing_is_left_on_the_devices(described):
  _, _, alive = described
  assert alive < 1000


def test_compiles_both_steps_and_says_what_they_need(described):
  _, text, _ = described
  for name in ("supervised", "semi"):
    assert re.search(rf"{name} step, compiled in [\d.]+ s", text)
  semi = text.partition("semi step")[2]
  (gflop,) = re.search(r"computes  ([\d.]+) GFLOP", semi).groups()
  assert float(gflop) > 0
  whole, given, made, reused, temporary = megabytes(
    semi,
    r"needs     ([\d.]+) MB: arguments ([\d.]+) MB, outputs ([\d.]+) MB,"
    r".*arguments ([\d.]+) MB, temporaries ([\d.]+) MB",
  )
  assert whole == pytest.approx(given + made + temporary - reused, abs=3000)
  assert 0.9 * made < reused <= made  # The state takes the place of the old.


def test_gradients_are_told_from_all_else(described):
  exp, text, _ = described
  params = exp.programs.abstract_state(exp.programs.phases[1]).params
  gradients = sum(
    4 * leaf.size
    for leaf in jax.tree.leaves(params)
    if len(collectives.dimensions(leaf.shape)) > 1
  )
  semi = text.partition("semi step")[2]
  row = r"together +\d+ +([\d.]+) MB +([\d.]+) MB"
  of_parameters, of_others = megabytes(semi, row)
  assert of_parameters == round(gradients, -3)
  assert of_others > 0
  largest = semi.partition("largest of parameters")[2].splitlines()[1]
  assert "all-reduce" in largest and "transpose(jvp" in largest


def collective(kind, *shapes, count=1, count_is_known=True):
  arrays = tuple(
    collectives.Array("f32", shape, "transpose(here)") for shape in shapes
  )
  return collectives.Collective(kind, arrays, count, count_is_known)


def test_a_table_adds_up_what_each_kind_sends():
  lines = dry_run.describe_collectives(
    [
      collective("all-reduce", (1000, 250), (500,)),
      collective("all-reduce", (250, 1, 1000), count=3),
      collective("all-gather", (1000, 1000), count=2, count_is_known=False),
    ],
    {(250, 1000)},
  )
  assert [line.split() for line in lines] == [
    ["sends", "times", "parameters", "all", "else"],
    ["all-reduce", "4", "4.000", "MB", "0.002", "MB"],
    ["all-gather", "2", "0.000", "MB", "8.000", "MB"],
    ["together", "6", "4.000", "MB", "8.002", "MB"],
    ["of", "loops", "of", "unknown", "length", "one", "iteration"],
    ["largest", "of", "parameters"],
    "3.000 MB all-reduce 3 x f32[250,1,1000] transpose(here)".split(),
    "1.000 MB all-reduce 1 x f32[1000,250] transpose(here)".split(),
    ["largest", "of", "all", "else"],
    "8.000 MB all-gather 2 x f32[1000,1000] transpose(here)".split(),
    "0.002 MB all-reduce 1 x f32[500] transpose(here)".split(),
  ]


def test_one_device_sends_nothing():
  assert list(dry_run.describe_collectives([], set())) == [
    "  sends     nothing"
  ]


@pytest.fixture
def target():
  """The CPUs of these tests, as if they were an accelerator with 0.5 MB."""
  chip = topology.Chip(
    name="toy",
    memory=500_000,
    bandwidth=1e9,
    peaks={"float32": 1e12, "float32, highest": 5e11},
  )
  return topology.Topology("toy:8", chip, tuple(jax.devices()), "gpu")


def test_says_what_accelerators_would_need(make_experiment, target):
  lines = []
  exp = make_experiment()
  with pytest.raises(ValueError, match="^--topology=toy:8: the memory of toy"):
    lines.extend(dry_run.describe(exp, target))
  text = "\n".join(lines)
  for name in ("supervised", "semi"):
    assert re.search(rf"{name} step, compiled in [\d.]+ s; a device", text)
  semi = text.partition("semi step")[2]
  assert "DOES NOT FIT into 0.500 MB of toy" in semi
  assert "cuDNN" in semi
  assert "all-reduce" in semi
  (whole,) = megabytes(semi, r"needs     ([\d.]+) MB")
  (moved,) = megabytes(semi, r"moves     ([\d.,]+) MB")
  assert moved > whole
  # One part of eight, and nothing at default precision in these tests.
  (total, highest) = re.search(
    r"computes  ([\d.]+) GFLOP .*: ([\d.]+) of float32, highest", semi
  ).groups()
  assert total == highest
  least, compute, memory = map(
    float,
    re.search(
      r"at least ([\d.]+) ms, a bound: ([\d.]+) ms .*, ([\d.]+) ms at", semi
    ).groups(),
  )
  assert least == max(compute, memory)
  assert memory == pytest.approx(moved / 1e6, abs=0.1)
  assert compute == pytest.approx(float(total) / 500 * 1e3, abs=0.1)
  assert "--config.model.remat=blocks" in semi
  assert "--config.mesh=(1, -1)" in semi
  assert "more devices, smaller data.batch_size_*" in semi


class Traced:
  """Stands for a step whose compiler says something else the first time."""

  def __init__(self, traced, message):
    self.jaxpr, self._lowered = traced.jaxpr, traced.lower()
    self._message = message
    self.options = []

  def lower(self):
    return self

  def compile(self, compiler_options=None):
    self.options.append(compiler_options)
    if not compiler_options:
      raise jax.errors.JaxRuntimeError(self._message)
    return self._lowered.compile()


@pytest.fixture
def make_forecast(target):
  traced = jax.jit(lambda x: x @ x).trace(np.ones((8, 8), np.float32))

  def make(message):
    stand_in = Traced(traced, message)
    return forecast.Forecast("semi", stand_in, target, 8), stand_in.options

  return make


def test_the_compiler_of_tpus_may_find_no_room(make_forecast):
  found, _ = make_forecast(
    "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 18.50G of"
    " 15.75G hbm. Exceeded hbm capacity by 2.75G."
  )
  assert (found.need, found.limit) == (int(18.5 * 2**30), int(15.75 * 2**30))
  text = "\n".join(found.describe())
  assert not found.fits and "DOES NOT FIT into 16,911.434 MB" in text


def test_where_triton_finds_no_tiles_cublas_takes_over(make_forecast):
  found, options = make_forecast(
    "INTERNAL: Couldn't find output tile sizes that satisfy hlo: %dot.1"
  )
  assert options == [None, {"xla_gpu_enable_triton_gemm": False}]
  assert found.fits and "by cuBLAS alone" in "\n".join(found.describe())


def test_other_errors_of_the_compiler_pass_through(make_forecast):
  with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
    make_forecast("INTERNAL: a bug")


def test_needs_no_dataset_where_it_is_given(make_experiment, tmp_path):
  exp = make_experiment()
  config = tiny_run.make_config(tmp_path / "none")
  with pytest.raises(FileNotFoundError, match="no prepared dataset 'tiny'"):
    dry_run.report(config)
  other = experiment.create_experiment(
    config, devices=jax.devices()[:4], opened=(exp.dataset, exp.split)
  )
  assert other.mesh.size == 4
  assert other.timeline == exp.timeline
