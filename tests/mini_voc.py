"""A small PASCAL VOC 2012 with its archives, made on the fly."""

import io
import tarfile
import zipfile

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import split_lists, voc
from tests import voc_tree
from u2pl_jax.data import datasets

# Two images of its own and three of SBD to train on.
OWN, SBD, VAL = ["2007_1", "2007_2"], ["2008_1", "2008_2", "2008_3"], ["2009_1"]
# The split "2" stands for 1464, "3" for a blender split.
SPLITS = {
  "1": (OWN[:1], OWN[1:] + SBD),
  "2": (OWN, SBD),
  "3": ([OWN[0], *SBD[:2]], [OWN[1], SBD[2]]),
}


def draw_aug(example_id):
  return np.where(voc_tree.draw_mask(example_id) == 255, 20, 3).astype(np.uint8)


def encode(pixels, kind="PNG"):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, kind)
  return buffer.getvalue()


def write_tree(root):
  """Writes VOC2012 with the official masks, and returns that folder."""
  top = root / "VOCdevkit" / "VOC2012"
  for i in OWN + SBD + VAL + ["2010_not_segmented"]:
    path = top / "JPEGImages" / f"{i}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(voc_tree.draw_image(i), "JPEG"))
  for i in OWN + VAL:
    mask = Image.fromarray(voc_tree.draw_mask(i))
    mask.putpalette(list(range(256)) * 3)
    path = top / "SegmentationClass" / f"{i}.png"
    path.parent.mkdir(exist_ok=True)
    mask.save(path)
  lists = top / "ImageSets" / "Segmentation"
  voc_tree.write_list(lists / "train.txt", OWN)
  voc_tree.write_list(lists / "val.txt", VAL)
  return top


def write_aug(folder):
  """Writes SBD-style masks of all images, VOC's own among them."""
  folder.mkdir(parents=True)
  for i in OWN + SBD + VAL:
    (folder / f"{i}.png").write_bytes(encode(draw_aug(i)))
  return folder


def pack_tar(tree, path):
  with tarfile.open(path, "w") as tar:
    tar.add(tree.parents[1], arcname=".")
  return path


def pack_zip(folder, path, top="SegmentationClassAug/"):
  with zipfile.ZipFile(path, "w") as archive:
    for file in folder.iterdir():
      archive.write(file, top + file.name)
      archive.writestr(f"__MACOSX/{top}._{file.name}", b"x")
  return path


def write_pixels(folder, ids, own):
  """Writes voc.tar and aug.zip with images of one pixel.

  It is of class 1 in the official masks, of the images in `own`, and of class
  2 in SBD's masks, of all images.
  """
  pixel = encode(np.zeros((1, 1, 3), np.uint8), "JPEG")
  official, sbd = (encode(np.full((1, 1), k, np.uint8)) for k in (1, 2))
  with (
    tarfile.open(folder / "voc.tar", "w") as tar,
    zipfile.ZipFile(folder / "aug.zip", "w") as aug,
  ):

    def add(name, content):
      member = tarfile.TarInfo(f"VOCdevkit/VOC2012/{name}")
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))

    for i in ids:
      add(f"JPEGImages/{i}.jpg", pixel)
      aug.writestr(f"SegmentationClassAug/{i}.png", sbd)
      if i in own:
        add(f"SegmentationClass/{i}.png", official)


def read_labels(dataset, split="train"):
  """Returns the stored label of each image, by id."""
  builder = tfds.builder_from_directory(dataset.path)
  undecoded = tfds.decode.SkipDecoding()
  decoders = {"image": undecoded, "label": undecoded}
  rows = builder.as_data_source(split, decoders=decoders)
  return {
    rows[n]["id"].decode(): np.asarray(Image.open(io.BytesIO(rows[n]["label"])))
    for n in range(len(rows))
  }


def publish(tmp_path, monkeypatch):
  """Has these splits count as the published ones of VOC."""
  folder = tmp_path / "published"
  voc_tree.write_list(folder / "val.txt", VAL)
  for split, (labeled, unlabeled) in SPLITS.items():
    voc_tree.write_list(folder / split / "labeled.txt", labeled)
    voc_tree.write_list(folder / split / "unlabeled.txt", unlabeled)
  monkeypatch.setitem(split_lists.FOLDERS, "pascal", folder)
  monkeypatch.setattr(voc, "_OWN_TRAIN", "2")


def arguments(root, data_dir, *options):
  """Of `data_prep.voc`."""
  return [f"--root={root}", f"--data_dir={data_dir}", *options]


def prepare(root, data_dir, *options):
  """The dataset that `data_prep.voc` makes."""
  assert voc.main(arguments(root, data_dir, *options)) == 0
  return datasets.open_dataset("voc", data_dir)
