import jax
import jax.numpy as jnp
import pytest
from etils import epath

from u2pl_jax.runtime import profiling


def run(folder, steps, first=1, last=6):
  """Goes through a run; returns the lines shown."""
  lines = []
  trace = profiling.StepTrace(
    epath.Path(folder),
    steps,
    run=range(first, last + 1),
    show=lines.append,
  )
  for step in range(first, last + 1):
    trace.before(step)
    with jax.profiler.TraceAnnotation(f"update_{step}"):
      outputs = jnp.ones(8) + step
    trace.after(step, outputs)
  trace.close()
  return lines


def traced_updates(folder):
  """Which updates the one trace in the folder shows."""
  (path,) = folder.rglob("*.xplane.pb")
  content = path.read_bytes()
  return [step for step in range(1, 10) if b"update_%d" % step in content]


@pytest.mark.parametrize(
  "steps, first, expected",
  [((2, 4), 1, [3, 4]), ((0, 1), 1, [1]), ((2, 9), 1, [3, 4, 5, 6])]
  + [((1, 5), 5, [5])],
)
def test_the_asked_for_steps_of_the_run_are_traced(
  steps, first, expected, tmp_path
):
  (line,) = run(tmp_path / "profile", steps, first)
  assert line == f"profile written to {tmp_path / 'profile'}"
  assert traced_updates(tmp_path) == expected


@pytest.mark.parametrize("steps, first", [((6, 8), 1), ((1, 3), 4)])
def test_steps_outside_the_run_are_one_warning(steps, first, tmp_path):
  (line,) = run(tmp_path / "profile", steps, first)
  assert line.startswith("warning: nothing is profiled, steps")
  assert f"{steps[0] + 1} to {steps[1]}" in line and f"{first} to 6" in line
  assert not (tmp_path / "profile").exists()


def test_without_steps_nothing_is_traced_or_said(tmp_path):
  assert run(tmp_path / "profile", None) == []
  assert not (tmp_path / "profile").exists()


def test_a_run_that_ends_within_the_steps_keeps_its_trace(tmp_path):
  trace = profiling.StepTrace(
    epath.Path(tmp_path), (0, 5), run=range(1, 7), show=lambda line: None
  )
  trace.before(1)
  trace.close()
  assert list(tmp_path.rglob("*.xplane.pb"))
