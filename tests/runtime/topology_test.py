"""Accelerators that are not there: their names, and what is missing."""

import importlib.util

import jax
import pytest

from u2pl_jax.runtime import topology


@pytest.mark.parametrize(
  "name, says",
  [
    ("v9:2x2", "such as v4:2x4x4, v5e:4x4.*such as h100:8, h200:8"),
    ("", "must be TPUs with their layout"),
    ("v5e", "v5e comes as 1x1, 2x2, 2x4"),
    ("v5e:3x3", "v5e comes as 1x1, 2x2, 2x4"),
    ("v4:4x4", "v4 comes as 2x2x1"),
    ("h100", "h100:COUNT, up to 8 or a multiple"),
    ("h100:0", "h100:COUNT"),
    ("h100:12", "h100:COUNT"),
    ("h100:1x1", "h100:COUNT"),
  ],
)
def test_an_unknown_name_lists_what_is_known(name, says):
  with pytest.raises(ValueError, match=f"^--topology={name}: .*{says}") as info:
    topology.create(name)
  assert "\n" not in str(info.value)


@pytest.mark.parametrize(
  "name, says",
  [("v5e:2x2", r'pip install "jax\[tpu\]"'),
   ("h100:1", r'pip install "jax\[cuda12\]"')],
)  # fmt: skip
def test_a_missing_plugin_is_named_with_its_command(monkeypatch, name, says):
  monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
  with pytest.raises(ImportError, match=says) as info:
    topology.create(name)
  assert info.value.name is None  # Else it would be shown as a traceback.


@pytest.fixture
def libtpu(monkeypatch):
  """Returns a list of how libtpu was called; it gives one CPU."""
  calls = []

  def describe(*args, **kwargs):
    calls.append((args, kwargs))
    return topology.topologies.TopologyDescription(jax.devices()[:1])

  monkeypatch.setattr(importlib.util, "find_spec", lambda module: module)
  monkeypatch.setattr(topology.topologies, "get_topology_desc", describe)
  for name in ("SKIP_MDS_QUERY", "ACCELERATOR_TYPE", "WORKER_HOSTNAMES"):
    monkeypatch.setenv(f"TPU_{name}", "set")
  return calls


def test_a_lock_that_is_held_is_told_in_one_line(libtpu, monkeypatch):
  def refuse(**kwargs):
    raise jax.errors.JaxRuntimeError(
      "ABORTED: Internal error when accessing libtpu multi-process lockfile."
    )

  monkeypatch.setattr(topology.topologies, "get_topology_desc", refuse)
  with pytest.raises(ValueError, match="one process at a time.*wait for it"):
    topology.create("v5e:2x2")


def test_tpus_are_asked_for_by_name(libtpu):
  found = topology.create("v5e:4x4")
  assert found.platform == "tpu" and found.chip.memory == 16 * 2**30
  topology.create("v5e:1x1")
  topology.create("v4:2x2x1")
  (_, flat), (_, one), (_, old) = libtpu
  assert flat == {"platform": "tpu", "topology_name": "v5e:4x4"}
  assert one["chips_per_host_bounds"] == (1, 1, 1)
  assert old["chip_config_name"] == "megacore"


@pytest.mark.parametrize(
  "count, grid", [(1, "1x1x1"), (8, "1x1x8"), (16, "1x2x8")]
)
def test_gpus_are_described_by_their_limits(libtpu, count, grid):
  found = topology.create(f"l4:{count}")
  assert found.platform == "gpu" and found.chip.usable == 0.75
  ((name, platform), given) = libtpu[0]
  assert (name, platform, given["topology"]) == ("NVIDIA L4", "cuda", grid)
  text = given["target_config"]
  assert "cuda_compute_capability { major: 8 minor: 9 }" in text
  assert "device_memory_size: 23583784960 " in text
  assert text.count("{") == text.count("}")


@pytest.mark.parametrize("chips", [topology._TPUS, topology._GPUS])
def test_every_chip_has_its_peaks(chips):
  for chip in chips.values():
    assert set(chip.peaks) == {"bfloat16", "float32", "float32, highest"}
    assert chip.peaks["bfloat16"] > 100e12 > chip.bandwidth > 1e11
    assert 2e10 < chip.memory < 2e11 or chip.memory == 16 * 2**30
