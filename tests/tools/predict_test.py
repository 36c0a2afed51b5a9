"""Predicting image files, from the command line to the files of results."""

import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from PIL import Image

from tests import picture_files, tiny_network
from tests.tools import photos
from u2pl_jax.data import preprocess
from u2pl_jax.evaluation import outputs, protocol
from u2pl_jax.models import forward
from u2pl_jax.ops import crop, normalize, percentile
from u2pl_jax.predict import photographs, results, stream, trained
from u2pl_jax.runtime import sharding
from u2pl_jax.tools import predict


def evaluate(network, images, kind="whole", **options):
  """Labels of the evaluator."""
  seen = protocol.Protocol(kind, network.window, **options)
  predict_labels = outputs.make_predict(network.model, seen, ("labels",))
  return np.asarray(predict_labels(network.variables, images)["labels"])


def test_masks_colors_and_overlays_are_written(run, network, tmp_path, capsys):
  images = photos.save(tmp_path / "in", 3)
  assert run(tmp_path / "in") == 0
  labels = evaluate(network, images)
  assert len(np.unique(labels)) > 1
  out = tmp_path / "out"
  for index in range(3):
    mask = photos.open_image(out, "masks", f"{index}.png")
    assert mask.mode == "L"
    np.testing.assert_array_equal(mask, labels[index])
    colors = photos.open_image(out, "colors", f"{index}.png")
    assert colors.mode == "P"
    np.testing.assert_array_equal(colors, labels[index])
    np.testing.assert_array_equal(
      colors.convert("RGB"), np.array(network.palette)[labels[index]]
    )
    overlay = photos.open_image(out, "overlays", f"{index}.jpg")
    assert overlay.mode == "RGB" and overlay.size == photos.SIZE[::-1]
  assert {path.name for path in out.iterdir()} == {
    "masks",
    "colors",
    "overlays",
    "predict.json",
  }
  printed = capsys.readouterr()
  assert "3 of 3 images" in printed.out and "5 classes" in printed.out
  assert "predicting: 3/3" in printed.err and "s left" in printed.err


@pytest.mark.parametrize(
  "flags, options",
  [
    (["--protocol=slide"], {"kind": "slide"}),
    (["--scales=0.5,1.25", "--flip"], {"scales": (0.5, 1.25), "flip": True}),
  ],
)
def test_protocols_are_those_of_evaluation(
  flags, options, run, network, tmp_path
):
  images = photos.save(tmp_path / "in", 1, (50, 45))
  assert run(tmp_path / "in", *flags) == 0
  np.testing.assert_array_equal(
    photos.load(tmp_path, "out/masks/0.png"),
    evaluate(network, images, **options)[0],
  )


def test_padded_images_are_cut_back(run, network, tmp_path):
  image = photos.save(tmp_path / "in", 1, (30, 38))[0]
  Image.fromarray(photos.make_image(1)).save(tmp_path / "in" / "large.png")
  assert run(tmp_path / "in", "--max_shapes=1") == 0
  padded = preprocess.pad_to_crop(image, photos.SIZE, normalize.MEAN_COLOR)
  labels = evaluate(network, padded[None])[0]
  np.testing.assert_array_equal(
    photos.load(tmp_path, "out/masks/0.png"), crop.center_crop(labels, (30, 38))
  )


def test_maps_are_probability_and_entropy_in_gray(run, network, tmp_path):
  images = photos.save(tmp_path / "in")
  assert run(tmp_path / "in", "--maps=probability,entropy") == 0
  net = forward.make_net(network.model, network.variables)
  logits = jax.jit(net)(network.model.normalize(images))[0]
  for name, expected in (
    ("probability", jax.nn.softmax(logits).max(-1)),
    ("entropy", percentile.compute_entropy(logits) / np.log(5)),
  ):
    found = photos.open_image(tmp_path, "out", name, "0.png")
    assert found.mode == "L"
    np.testing.assert_allclose(
      np.asarray(found, float), 255 * np.asarray(expected), atol=0.51
    )


def test_images_of_any_mode_and_size_are_predicted(run, tmp_path):
  folder = tmp_path / "in"
  folder.mkdir()
  picture = Image.fromarray(photos.make_image())
  for mode in ("1", "L", "LA", "P", "RGBA"):
    picture.convert(mode).save(folder / f"{mode}.png")
  picture.convert("CMYK").save(folder / "CMYK.jpg")
  frames = [picture, Image.fromarray(photos.make_image(1))]
  frames[0].save(folder / "gif.gif", save_all=True, append_images=frames[1:])
  Image.fromarray(photos.make_image()[..., 0].astype(np.uint16) * 256).save(
    folder / "16.png"
  )
  Image.new("RGB", (1, 1)).save(folder / "dot.png")
  Image.new("RGB", (70, 2)).save(folder / "line.png")
  assert run(folder, "--max_shapes=2", "--value_range=0,65535") == 0
  masks = tmp_path / "out" / "masks"
  assert {path.name for path in masks.iterdir()} == {
    f"{path.stem}.png" for path in folder.iterdir()
  }
  for path in folder.iterdir():
    size = photographs.read_size(path)
    assert photos.load(masks, f"{path.stem}.png").shape == size


def test_a_picture_is_predicted_as_if_it_were_stored_plainly(run, tmp_path):
  """Turned by any tag, transparent, gray, of a palette, or of 12 bits."""
  image = photos.make_image()
  gray, twelve = image[..., 0], image[..., 0].astype(np.uint16) * 4095 // 255
  alpha = np.full(photos.SIZE, 255, np.uint8)
  alpha[:9] = 51  # A fifth of the color, and four of white.
  over_white = image.copy()
  over_white[:9] = np.round(image[:9] * 0.2 + 255 * 0.8)
  palette = Image.fromarray(image).quantize(60)
  stored = {
    f"turned {tag}": (
      picture_files.encode(picture_files.store(image, tag), "PNG", tag),
      image,
    )
    for tag in range(1, 9)
  } | {
    "alpha": (picture_files.encode(np.dstack([image, alpha])), over_white),
    "gray": (picture_files.encode(gray), np.dstack([gray] * 3)),
    "palette": (
      picture_files.encode(palette),
      np.asarray(palette.convert("RGB")),
    ),
    "12 bits": (
      picture_files.encode(twelve),
      np.dstack([np.rint(twelve * 255 / 4095).astype(np.uint8)] * 3),
    ),
  }
  (tmp_path / "in").mkdir()
  for name, (content, plain) in stored.items():
    (tmp_path / f"in/{name}.png").write_bytes(content)
    Image.fromarray(plain).save(tmp_path / f"in/{name} plain.png")
  assert run(tmp_path / "in", "--value_range=0,4095", "--max_shapes=1") == 0
  for name in stored:
    for kind in ("masks/{}.png", "overlays/{}.jpg"):
      np.testing.assert_array_equal(
        photos.load(tmp_path, "out", kind.format(name)),
        photos.load(tmp_path, "out", kind.format(f"{name} plain")),
      )
    assert photos.load(tmp_path, f"out/masks/{name}.png").shape == photos.SIZE


def test_the_rest_is_done_where_files_cannot_be_read(run, tmp_path, capsys):
  folder = tmp_path / "in"
  photos.save(folder, 2)
  Image.new("1", (20000, 20000)).save(folder / "huge.png")
  Image.fromarray(photos.make_image()).save(folder / "cut.jpg")
  content = (folder / "cut.jpg").read_bytes()
  (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
  (folder / "text.jpg").write_text("not an image\n")
  (folder / "empty.png").touch()
  Image.fromarray(np.ones(photos.SIZE, np.float32)).save(folder / "floats.tif")
  # Damaged metadata alone do not matter, nor does Pillow warn of them.
  Image.fromarray(photos.make_image()).save(
    folder / "exif.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09"
  )
  assert run(folder) == 1
  done = {path.stem for path in (tmp_path / "out" / "masks").iterdir()}
  assert done == {"0", "1", "exif"}
  printed = capsys.readouterr()
  assert "3 of 8 images" in printed.out
  lines = printed.err.splitlines()[-5:]
  for name, message in (
    ("huge.png", "20000x20000 pixels, above --max_megapixels=30"),
    ("cut.jpg", "truncated"),
    ("text.jpg", "convert it to JPEG or PNG"),
    ("empty.png", "not an image"),
    ("floats.tif", "floating-point"),
  ):
    (line,) = [line for line in lines if str(folder / name) in line]
    assert message in line


def test_sub_folders_and_endings_are_kept(run, tmp_path):
  photos.save(tmp_path / "in", 1)
  photos.save(tmp_path / "in" / "sub", 1)
  Image.fromarray(photos.make_image()).save(tmp_path / "in" / "0.bmp")
  assert run(tmp_path / "in") == 0
  masks = tmp_path / "out" / "masks"
  assert {str(p.relative_to(masks)) for p in masks.rglob("*.png")} == {
    "0.png.png",
    "0.bmp.png",
    "sub/0.png",
  }


def test_masks_do_not_depend_on_the_other_images(run, network, tmp_path):
  images = photos.save(tmp_path / "in", 10)
  assert run(tmp_path / "in", "--batch_size=8") == 0
  labels = np.concatenate([evaluate(network, image[None]) for image in images])
  for index in range(10):
    np.testing.assert_array_equal(
      photos.load(tmp_path, f"out/masks/{index}.png"), labels[index]
    )


def test_the_number_of_devices_does_not_matter(run, tmp_path, monkeypatch):
  photos.save(tmp_path / "in", 3)
  maps = "--maps=probability,entropy"
  assert run(tmp_path / "in", maps, out=tmp_path / "eight") == 0
  mesh = sharding.create_mesh(devices=jax.devices()[:1])
  monkeypatch.setattr(sharding, "create_mesh", lambda: mesh)
  assert run(tmp_path / "in", maps, out=tmp_path / "one") == 0
  for index in range(3):
    for kind in ("masks", "probability", "entropy"):
      name = f"{kind}/{index}.png"
      np.testing.assert_allclose(
        photos.load(tmp_path, "eight", name).astype(int),
        photos.load(tmp_path, "one", name).astype(int),
        atol=0 if kind == "masks" else 1,
      )


def test_workdirs_serve_as_well_as_files(tmp_path, capsys):
  tiny_network.save_run(tmp_path / "run")
  images = photos.save(tmp_path / "in")
  arguments = [f"--workdir={tmp_path / 'run'}", f"--images={tmp_path / 'in'}"]
  for state in ("teacher", "student"):
    out = tmp_path / state
    chosen = [f"--out={out}", "--checkpoint=last", f"--state={state}"]
    assert predict.main([*arguments, *chosen]) == 0
    assert f"{state} of step 2" in capsys.readouterr().out
    network = trained.load_run(tmp_path / "run", "last", state)
    np.testing.assert_array_equal(
      photos.load(out, "masks/0.png"), evaluate(network, images)[0]
    )


def test_images_stream_through(checkpoint, network, tmp_path, monkeypatch):
  """However many there are, few are read before the first is written."""
  photos.save(tmp_path / "in", 30)
  read, written = [], threading.Event()
  read_image, write = photographs.read, results.write

  def count(path, value_range):
    if not written.is_set():
      read.append(path)
    return read_image(path, value_range)

  def slow(*arguments):
    write(*arguments)
    written.set()

  monkeypatch.setattr(photographs, "read", count)
  monkeypatch.setattr(results, "write", slow)
  monkeypatch.setattr(stream, "_MAX_THREADS", 1)
  mesh = sharding.create_mesh(devices=jax.devices()[:1])
  monkeypatch.setattr(sharding, "create_mesh", lambda: mesh)
  arguments = [f"--weights={checkpoint}", f"--images={tmp_path / 'in'}"]
  out = f"--out={tmp_path / 'out'}"
  assert predict.main([*arguments, out, "--batch_size=1"]) == 0
  assert len(read) < 8
  assert len(list((tmp_path / "out" / "masks").iterdir())) == 30


def test_it_starts_without_tensorflow():
  code = (
    "import sys, u2pl_jax.tools.predict; "
    "sys.exit(bool({'tensorflow', 'clu'} & set(sys.modules)))"
  )
  subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_help_shows_an_example(capsys):
  with pytest.raises(SystemExit) as caught:
    predict.main(["--help"])
  assert caught.value.code == 0
  printed = capsys.readouterr().out
  assert "python -m u2pl_jax.tools.predict --workdir=DIR" in printed
