"""One line for each mistake on the command line of `predict`."""

import jax
import pytest

from tests import one_line, tiny_network
from tests.tools import photos
from u2pl_jax.predict import stream, trained
from u2pl_jax.tools import predict


def test_no_images_are_one_line(run, tmp_path):
  (tmp_path / "in").mkdir()
  for images in (tmp_path / "in", tmp_path / "absent", tmp_path / "*.jpg"):
    assert str(images) in one_line.error_of_call(run, images)


@pytest.mark.parametrize(
  "flag",
  [
    "--maps=probability,color",
    "--scales=1,x",
    "--scales=0",
    "--scales=inf",
    "--batch_size=0",
    "--max_shapes=0",
    "--max_megapixels=nan",
    "--checkpoint=last",
  ],
)
def test_flags_out_of_range_are_named(flag, run, tmp_path):
  photos.save(tmp_path / "in")
  assert flag.partition("=")[0] in one_line.error_of_call(
    run, tmp_path / "in", flag
  )


def test_wrong_networks_are_one_line(network, tmp_path):
  photos.save(tmp_path / "in")
  damaged = tmp_path / "damaged.safetensors"
  damaged.write_bytes(b"not one")
  other = tmp_path / "other.safetensors"
  wide = tiny_network.make_trained(width=8)
  trained.save_safetensors(
    trained.Trained(**vars(network) | {"variables": wide.variables}), other
  )
  (tmp_path / "folder").mkdir()
  for source, message in (
    (f"--weights={damaged}", "damaged"),
    (f"--weights={other}", "another network"),
    (f"--weights={tmp_path / 'absent.npz'}", "no such file"),
    (f"--workdir={tmp_path / 'folder'}", "holds no run"),
    (f"--checkpoint={other}", "give a file by --weights"),
  ):
    line = one_line.error_of_call(
      lambda source=source: predict.main(
        [source, f"--images={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"]
      )
    )
    assert message in line and source.partition("=")[2] in line


def test_a_run_and_a_file_exclude_each_other(run, tmp_path):
  photos.save(tmp_path / "in")
  line = one_line.error_of_call(run, tmp_path / "in", f"--workdir={tmp_path}")
  assert "either --workdir=DIR of a run or --weights=FILE" in line
  line = one_line.error_of_call(
    lambda: predict.main([f"--images={tmp_path / 'in'}", "--out=nowhere"])
  )
  assert "either --workdir=DIR of a run or --weights=FILE" in line


def test_a_folder_that_cannot_be_written_is_one_line(run, tmp_path):
  photos.save(tmp_path / "in")
  (tmp_path / "file").touch()
  assert "file" in one_line.error_of_call(
    run, tmp_path / "in", out=tmp_path / "file"
  )


def test_too_little_memory_is_told_for_each_image(
  run, tmp_path, monkeypatch, capsys
):
  def program(pixels):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\n...")

  monkeypatch.setattr(stream, "_compile", lambda *_: program)
  photos.save(tmp_path / "in", 2)
  assert run(tmp_path / "in") == 1
  lines = capsys.readouterr().err.splitlines()[-2:]
  assert all("too little memory; try --batch_size=1" in line for line in lines)


def test_other_errors_of_the_device_are_not_hidden(run, tmp_path, monkeypatch):
  def program(pixels):
    raise jax.errors.JaxRuntimeError("INTERNAL: no idea")

  monkeypatch.setattr(stream, "_compile", lambda *_: program)
  photos.save(tmp_path / "in")
  with pytest.raises(jax.errors.JaxRuntimeError, match="no idea"):
    run(tmp_path / "in")
