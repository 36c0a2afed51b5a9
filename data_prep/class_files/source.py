"""The text of files of classes."""

import json
import pathlib


def read_text(file: pathlib.Path) -> str:
  """Returns the text, without the mark that some editors put first.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is not text.
  """
  try:
    return file.read_text(encoding="utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"{file}: not UTF-8 text; save it as such") from error


def read_lines(file: pathlib.Path) -> list[tuple[int, str]]:
  """Returns number, from 1, and stripped text of the lines up to the last.

  Lines without text are left out after the last that has some, not before.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is not text.
  """
  lines = [line.strip() for line in read_text(file).splitlines()]
  while lines and not lines[-1]:
    lines.pop()
  return list(enumerate(lines, start=1))


def read_json(file: pathlib.Path) -> object:
  """Returns the content of a JSON file.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is not JSON, or a key stands twice in one object.
  """

  def to_dict(pairs):
    found = {}
    for key, value in pairs:
      if key in found:
        raise ValueError(f"{key!r} stands there twice")
      found[key] = value
    return found

  try:
    return json.loads(read_text(file), object_pairs_hook=to_dict)
  except json.JSONDecodeError as error:
    raise ValueError(f"{file}: not a JSON file ({error})") from error


def fail(file: pathlib.Path, line: int, problem: str) -> ValueError:
  """Returns the error that something is wrong with a line."""
  return ValueError(f"{file}, line {line}: {problem}")
