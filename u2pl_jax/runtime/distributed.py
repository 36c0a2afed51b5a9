"""Starts JAX's distributed runtime, and ends processes so that none is left.

`start` comes before anything that uses a device, and before TensorFlow.
"""

import contextlib
import importlib.util
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax

# Within which all processes must have started.
START_SECONDS = 300
# After which a process that says nothing counts as dead, and all others end.
HEARTBEAT_SECONDS = 60


def start(
  coordinator_address: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  start_seconds: int = START_SECONDS,
  heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:
  """Joins the other processes of this run, if there are any.

  Without arguments, tasks of one `srun` step, ranks of one `mpirun` and hosts
  of a Cloud TPU find each other. Any other start stays by itself: a shell got
  with `salloc`, a step of one task.

  From then on, a process that dies or cannot be reached ends all others within
  `heartbeat_seconds`, whatever they wait for.

  Args:
    coordinator_address: HOST:PORT of process 0; all of these three, or none.
    num_processes: at least 1.
    process_id: from 0 to num_processes - 1.
    start_seconds: to wait for all processes; then this one ends with one line
      and code 1.
    heartbeat_seconds: see above.

  Raises:
    ValueError: one line that names the flag at fault.
  """
  given = {
    "coordinator_address": coordinator_address,
    "num_processes": num_processes,
    "process_id": process_id,
  }
  if all(value is None for value in given.values()):
    launcher = find_launcher(os.environ)
    if launcher is None:
      return
    # Of TPUs there are several kinds, which JAX tells apart.
    method = None if launcher == "tpu" else launcher
    where, everyone = "their coordinator", "the processes"
  else:
    _check_explicit(given)
    launcher, method = None, "deactivate"
    where, everyone = coordinator_address, f"the {num_processes} processes"
  too_late = _describe_absence(everyone, where, start_seconds)
  try:
    with _ending_after(start_seconds, too_late):
      jax.distributed.initialize(
        **given,
        cluster_detection_method=method,
        # Ours comes first: JAX's ends the process with a stack trace.
        initialization_timeout=start_seconds + 60,
        heartbeat_timeout_seconds=heartbeat_seconds,
      )
  except ValueError:
    if launcher != "tpu":  # One that knows of no others, as in a notebook.
      raise


def _describe_absence(everyone: str, where: str, seconds: int) -> str:
  return (
    f"{everyone} of this run did not meet at {where} within {seconds} s:"
    " is each of them started, and can it reach that address?"
  )


def find_launcher(environ: Mapping[str, str]) -> str | None:
  """What started several processes of this run, if anything did.

  JAX would find out itself, but it takes a shell within a Slurm job for all
  tasks of the job, and waits for the others.

  Args:
    environ: the environment variables.

  Returns:
    "ompi", "mpi4py" or "slurm", each JAX's name of a way to find the others;
    "tpu" on a host of a Cloud TPU; None for a process by itself.

  Raises:
    ValueError: one line; there are others, but no way to find them.
  """
  if int(environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
    if "OMPI_MCA_orte_hnp_uri" in environ:
      return "ompi"
    # Since Open MPI 5 `mpirun` says no more where it runs; MPI has to be asked.
    if importlib.util.find_spec("mpi4py") is None:
      raise ValueError(
        "under mpirun of Open MPI 5 JAX needs mpi4py to find the other ranks;"
        " install it, or give --coordinator_address, --num_processes and"
        " --process_id"
      )
    return "mpi4py"
  if int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
    return "slurm"
  # JAX chooses this platform on the hosts of a Cloud TPU.
  if "tpu" in (jax.config.jax_platforms or "").split(","):
    return "tpu"
  return None


def _check_explicit(given: Mapping[str, Any]) -> None:
  """Raises ValueError unless all three are given and fit together."""
  for name, value in given.items():
    if value is None:
      raise ValueError(
        f"--{name} is missing: --coordinator_address, --num_processes and"
        " --process_id go together"
      )
  address, num_processes, process_id = given.values()
  host, _, port = address.rpartition(":")
  if not (host and port.isdecimal() and 0 < int(port) < 2**16):
    raise ValueError(f"--coordinator_address={address}: must be HOST:PORT")
  if num_processes < 1:
    raise ValueError(f"--num_processes={num_processes}: must be >= 1")
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f"--process_id={process_id}: must be in [0, {num_processes - 1}], as"
      f" --num_processes={num_processes}"
    )
  if process_id == 0:
    # On a port in use JAX crashes, or shares it with the other run.
    try:
      socket.create_server(("", int(port))).close()
    except OSError as error:
      raise ValueError(
        f"--coordinator_address={address}: process 0 cannot listen on port"
        f" {port} ({error.strerror})"
      ) from error


@contextlib.contextmanager
def _ending_after(seconds: float, message: str) -> Iterator[None]:
  """Ends the process with one line if the body takes longer."""

  def end():
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(1)

  timer = threading.Timer(seconds, end)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
  """Ends this process at once if the body raises and others wait for it.

  Python's own end would have JAX wait for the others to end too, while they
  wait for this process in a collective: minutes in which nothing happens.
  """
  try:
    yield
  except BaseException as error:
    is_error = not isinstance(error, SystemExit) or error.code
    if not (is_error and jax.distributed.is_initialized()):
      raise
    if isinstance(error, SystemExit):
      print(error.code, file=sys.stderr)
    else:
      traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def show(line: str) -> None:
  """Prints a line, once for all processes."""
  if jax.process_index() == 0:
    print(line, flush=True)
