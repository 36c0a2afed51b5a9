"""Who is found by whom; and two real processes that train, fail and die."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests import tiny_run
from u2pl_jax.runtime import distributed, sharding

SRUN = {
  "SLURM_JOB_ID": "4711",
  "SLURM_NTASKS": "2",
  "SLURM_PROCID": "0",
  "SLURM_LOCALID": "0",
  "SLURM_STEP_NODELIST": "node[001-002]",
  "SLURM_STEP_NUM_TASKS": "2",
}
MPIRUN = {
  "OMPI_COMM_WORLD_SIZE": "2",
  "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
}


@pytest.mark.parametrize(
  "environ, launcher",
  [
    ({}, None),
    (SRUN, "slurm"),
    (SRUN | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, None),
    # An sbatch script outside srun: no step.
    ({"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, None),
    # A shell got with salloc: a step of one task in a job of two.
    (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, None),
    (MPIRUN, "ompi"),
    (MPIRUN | {"OMPI_COMM_WORLD_SIZE": "1"}, None),
    # mpirun starts its helpers with srun.
    (SRUN | MPIRUN, "ompi"),
  ],
)
def test_finds_who_started_several_processes(environ, launcher):
  assert distributed.find_launcher(environ) == launcher


@pytest.mark.parametrize("has_mpi4py", [True, False])
def test_open_mpi_5_needs_mpi4py(has_mpi4py, monkeypatch):
  monkeypatch.setattr(
    distributed.importlib.util, "find_spec", lambda name: has_mpi4py or None
  )
  environ = {"OMPI_COMM_WORLD_SIZE": "2"}
  if has_mpi4py:
    assert distributed.find_launcher(environ) == "mpi4py"
  else:
    with pytest.raises(ValueError, match="install it, or give --coordinator_"):
      distributed.find_launcher(environ)


@contextlib.contextmanager
def platforms(value):
  jax.config.update("jax_platforms", value)
  yield
  jax.config.update("jax_platforms", "cpu")


def test_a_cloud_tpu_is_known_by_the_platform_that_jax_chooses():
  with platforms("tpu,cpu"):
    assert distributed.find_launcher({}) == "tpu"
    assert distributed.find_launcher(SRUN) == "slurm"


@pytest.fixture
def initialized(monkeypatch):
  """Options that JAX's runtime is started with; it is not."""
  calls = []
  monkeypatch.setattr(
    jax.distributed, "initialize", lambda **options: calls.append(options)
  )
  return calls


def test_a_process_by_itself_starts_no_runtime(initialized, monkeypatch):
  for environ in ({}, {"SLURM_NTASKS": "2"}, {"OMPI_COMM_WORLD_SIZE": "1"}):
    monkeypatch.setattr(distributed.os, "environ", environ)
    distributed.start()
  assert not initialized


def test_launched_processes_are_left_to_jax_to_find(initialized, monkeypatch):
  monkeypatch.setattr(distributed.os, "environ", SRUN)
  distributed.start()
  (options,) = initialized
  assert options["cluster_detection_method"] == "slurm"
  for name in ("coordinator_address", "num_processes", "process_id"):
    assert options[name] is None


def test_explicit_processes_are_not_looked_for(initialized):
  distributed.start("localhost:9", 3, 2, heartbeat_seconds=7)
  (options,) = initialized
  assert options["cluster_detection_method"] == "deactivate"
  assert options["coordinator_address"] == "localhost:9"
  assert (options["num_processes"], options["process_id"]) == (3, 2)
  assert options["heartbeat_timeout_seconds"] == 7


def test_a_tpu_without_a_cluster_goes_on_alone(monkeypatch):
  def find_nobody(**options):
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(jax.distributed, "initialize", find_nobody)
  with platforms("tpu,cpu"):
    distributed.start()
  monkeypatch.setattr(distributed.os, "environ", SRUN)
  with pytest.raises(ValueError, match="coordinator_address"):
    distributed.start()


@pytest.mark.parametrize(
  "given, words",
  [
    ((None, 2, 0), "--coordinator_address is missing"),
    (("host:1", None, 0), "--num_processes is missing"),
    (("host:1", 2, None), "--process_id is missing"),
    (("host", 2, 0), "--coordinator_address=host: must be HOST:PORT"),
    ((":1234", 2, 0), "must be HOST:PORT"),
    (("host:70000", 2, 0), "must be HOST:PORT"),
    (("host:1", 0, 0), "--num_processes=0: must be >= 1"),
    (("host:1", 2, 2), r"--process_id=2: must be in \[0, 1\]"),
    (("host:1", 2, -1), r"--process_id=-1: must be in \[0, 1\]"),
  ],
)
def test_explicit_flags_are_checked(given, words, initialized):
  with pytest.raises(ValueError, match=words) as caught:
    distributed.start(*given)
  assert "\n" not in str(caught.value)
  assert not initialized


def test_errors_of_a_process_by_itself_go_their_way():
  with pytest.raises(OSError, match="disk"), distributed.ending_at_once():
    raise OSError("disk full")


# Two real processes on the loopback interface.


@pytest.fixture
def port():
  try:
    with socket.create_server(("127.0.0.1", 0)) as server:
      return server.getsockname()[1]
  except OSError as error:
    pytest.skip(f"no sockets on the loopback interface: {error}")


class Process:
  """A program with its output, which has to end within a given time."""

  def __init__(self, argv, log):
    self._log = log
    environ = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": "1",
      "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
      "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as file:
      self.popen = subprocess.Popen(
        [sys.executable, *argv], stdout=file, stderr=file, env=environ
      )

  @property
  def output(self):
    return self._log.read_text(errors="replace")

  def finish(self, seconds):
    """Its exit code."""
    try:
      return self.popen.wait(seconds)
    except subprocess.TimeoutExpired:
      raise AssertionError(f"still running: {self.output[-3000:]}") from None

  def wait_for(self, words, seconds):
    """Returns as soon as it has printed the words."""
    end = time.monotonic() + seconds
    while words not in self.output:
      assert self.popen.poll() is None and time.monotonic() < end, self.output
      time.sleep(0.02)


@pytest.fixture
def start(tmp_path):
  """start(argv) starts a process, ended with the test at the latest."""
  processes = []

  def start_one(*argv):
    log = tmp_path / f"process_{len(processes)}.log"
    processes.append(Process(list(map(str, argv)), log))
    return processes[-1]

  yield start_one
  for process in processes:
    process.popen.kill()
    process.popen.wait()


@pytest.fixture
def start_two(start, port):
  """Starts two workers with a role; see tests/worker.py."""

  def start_both(role, *arguments):
    return [
      start(
        "-m", "tests.worker", role, f"127.0.0.1:{port}", 2, index, *arguments
      )
      for index in range(2)
    ]

  return start_both


def test_processes_that_meet_count_each_other(start_two):
  processes = start_two("meet")
  assert [process.finish(60) for process in processes] == [0, 0]
  assert all("2 met" in process.output for process in processes)


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_meets_nobody_says_so_in_a_line(start, port, index):
  process = start("-m", "tests.worker", "meet", f"127.0.0.1:{port}", 2, index)
  assert process.finish(60) == 1
  (line,) = process.output.splitlines()
  assert line.startswith("error: the 2 processes of this run did not meet at")
  assert f"127.0.0.1:{port} within 4 s" in line


def test_a_port_in_use_is_refused():
  with socket.create_server(("", 0)) as server:
    taken = server.getsockname()[1]
    with pytest.raises(ValueError, match=f"listen on port {taken} .*in use"):
      distributed.start(f"localhost:{taken}", 2, 0)


def test_an_error_in_one_process_ends_all_at_once(start_two):
  first, second = start_two("fail")
  assert second.finish(60) == 1
  assert first.finish(20) != 0
  assert "ValueError: a damaged image" in second.output


@pytest.mark.parametrize("killed", [0, 1])
def test_the_death_of_one_process_ends_the_other(start_two, killed):
  """Though it waits for nothing from the other, and Python code runs."""
  processes = start_two("sleep")
  for process in processes:
    process.wait_for("sleeping", 60)
  processes[killed].popen.kill()
  assert processes[1 - killed].finish(5 + 10) != 0  # Heartbeat and margin.


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@pytest.mark.parametrize("arg", ["", "method=u2pl_ael"])
def test_two_processes_train_like_one(
  arg, start_two, data_dir, tmp_path, monkeypatch
):
  """Each reads its own part of the batches."""
  path = tmp_path / "found.npz"
  processes = start_two("steps", data_dir, path, arg)
  make = sharding.create_mesh
  monkeypatch.setattr(
    sharding, "create_mesh", lambda *_: make((1, 1), jax.devices()[:1])
  )
  losses, params = tiny_run.make_steps(data_dir, arg=arg)
  assert [process.finish(400) for process in processes] == [0, 0]
  with np.load(path) as found:
    # With AEL, rounding decides for a pixel now and then; see its runs_test.
    np.testing.assert_allclose(found["arr_0"][0], losses[0], rtol=1e-5)
    rtol = 3e-2 if arg else 1e-5
    np.testing.assert_allclose(found["arr_0"], losses, rtol=rtol)
    for index, leaf in enumerate(jax.tree.leaves(params)):
      np.testing.assert_allclose(found[f"arr_{index + 1}"], leaf, atol=1e-4)


@pytest.fixture
def start_run(start, data_dir, tmp_path):
  """start(*flags) starts main.py for one run of 16 steps, always the same."""
  settings = {"train.epochs": 8, "checkpoint.every_steps": 2}
  flags = tiny_run.make_flags(data_dir, "suponly", **settings)
  return lambda *more: start(
    "main.py", f"--workdir={tmp_path}/run", *flags, *more
  )


@pytest.fixture
def start_two_runs(start_run, port):
  """Starts both processes of the run, which share the state."""
  ports = iter(range(port, 2**16))

  def start_both():
    address = f"localhost:{next(ports)}"
    return [
      start_run(
        f"--coordinator_address={address}",
        "--num_processes=2",
        f"--process_id={index}",
        "--config.mesh=(1, 2)",
      )
      for index in range(2)
    ]

  return start_both


@pytest.mark.slow
def test_a_run_of_two_processes_survives(start_run, start_two_runs, tmp_path):
  """One is killed, one is told to stop, and one is left to end the run."""
  first, second = start_two_runs()
  first.wait_for("step 4/16", 400)
  second.popen.kill()
  bound = distributed.HEARTBEAT_SECONDS + 15
  assert first.finish(bound) != 0, first.output
  assert "step 2: student mIoU" in first.output

  first, second = start_two_runs()
  first.wait_for("resuming at step", 400)
  second.popen.send_signal(signal.SIGTERM)
  assert (first.finish(400), second.finish(60)) == (0, 0), second.output
  (stopped,) = re.findall(r"stopped by SIGTERM at step (\d+)", first.output)
  assert (tmp_path / "run" / "checkpoints" / stopped).exists()
  assert "step" not in second.output  # Process 0 speaks for all,
  assert len(list(tmp_path.glob("run/events.*"))) == 2  # and writes.
  assert not (tmp_path / "run" / "result.json").exists()

  alone = start_run()
  assert alone.finish(400) == 0, alone.output
  assert f"resuming at step {stopped}" in alone.output
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["step"] == 16
