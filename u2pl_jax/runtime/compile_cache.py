"""Where compiled programs are kept from one run to the next.

In the user's cache folder, unless JAX's own variables say otherwise:
JAX_COMPILATION_CACHE_DIR names another one, JAX_ENABLE_COMPILATION_CACHE=false
keeps nothing. Deleting the folder costs nothing but the next compilation.
"""

import hashlib
import os
import pathlib
import platform

import jax


def use_default() -> None:
  """Keeps programs in `default_folder`, if JAX was told nothing else.

  Several processes on CPUs do without: there JAX may load a program that was
  compiled for another one of them.
  """
  if jax.config.jax_compilation_cache_dir is not None:
    return
  if jax.process_count() > 1 and jax.default_backend() == "cpu":
    return
  jax.config.update("jax_compilation_cache_dir", str(default_folder()))


def default_folder() -> pathlib.Path:
  """Of this kind of processor, for which programs of CPUs are compiled.

  Other machines may see the same home; JAX does not tell their CPUs apart.
  """
  # The base directory specification wants relative paths to be ignored.
  base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
  if not base.is_absolute():
    base = pathlib.Path("~/.cache").expanduser()
  kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
  return base / "u2pl_jax" / f"{platform.machine()}-{kind}"


def _processor() -> str:
  """Whatever tells instruction sets apart."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      lines = sorted(set(file))
  except OSError:  # macOS and Windows.
    return platform.processor()
  return "".join(ln for ln in lines if ln.startswith(("flags", "Features")))
