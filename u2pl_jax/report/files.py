"""The files that pages and pictures are written to."""

from etils import epath

from u2pl_jax.runtime import workdir


def check_folders(*paths: epath.PathLike | None) -> None:
  """Raises FileNotFoundError where a file's folder is not there.

  Args:
    *paths: of files to be written; None for none.
  """
  for path in map(epath.Path, filter(None, paths)):
    if not path.parent.is_dir():
      raise FileNotFoundError(f"{path}: there is no folder {path.parent}")


def write(path: epath.PathLike, content: str | bytes) -> None:
  """Writes a page or a picture, and says so.

  Raises:
    OSError: it cannot be written; one line.
  """
  content = content.encode() if isinstance(content, str) else content
  workdir.write_bytes(epath.Path(path), content)
  print(f"wrote {path}")
