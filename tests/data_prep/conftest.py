"""A small PASCAL VOC for the tests that prepare one."""

import pytest

from tests import mini_voc


@pytest.fixture
def published(tmp_path, monkeypatch):
  mini_voc.publish(tmp_path, monkeypatch)


@pytest.fixture
def tree(tmp_path, published):
  return mini_voc.write_tree(tmp_path / "tree")


@pytest.fixture
def aug(tmp_path):
  return mini_voc.write_aug(tmp_path / "SegmentationClassAug")


@pytest.fixture
def data_dir(tmp_path):
  return tmp_path / "data"
