"""Genuine files of PASCAL VOC and Cityscapes, which may not be passed on.

They lie beside the project, in ../shared/samples; tests that need them are
skipped elsewhere.
"""

import pathlib

import pytest

_ROOT = pathlib.Path(__file__).parents[2] / "shared" / "samples"
VOC = _ROOT / "voc"
CITYSCAPES = _ROOT / "cityscapes"

needed = pytest.mark.skipif(
  not _ROOT.is_dir(), reason="no genuine samples in ../shared/samples"
)
