"""Writes and reads files of classes."""

import json

import pytest

from data_prep import class_files


@pytest.fixture
def read(tmp_path):
  """Returns a function of a name and a content, text, bytes or JSON."""

  def write_and_read(name, content):
    file = tmp_path / name
    if isinstance(content, bytes):
      file.write_bytes(content)
    else:
      is_text = isinstance(content, str)
      file.write_text(content if is_text else json.dumps(content))
    return class_files.read(file)

  return write_and_read
