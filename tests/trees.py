"""Small trees of every layout, made on the fly, and what must come of them.

Each builder is `write_X(root, num_images=8, size=(24, 32))`; it writes a tree
of three classes and returns the examples that must come of it, by id.
"""

import csv
import dataclasses
import json

import numpy as np

from tests import tree_files


def write_voc(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found = {}
  for i, part in enumerate(tree_files.part_images(num_images)):
    label = tree_files.draw_label(i, size)
    image = tree_files.save_image(root / f"JPEGImages/photo {i}.jpg", size)
    tree_files.save_mask(root / f"SegmentationClass/photo {i}.png", label)
    found[f"photo {i}"] = tree_files.Example(image, label, part)
  for part in (tree_files.TRAIN, tree_files.VAL):
    ids = [i for i, example in found.items() if example.part == part]
    tree_files.write_lines(root / f"ImageSets/Segmentation/{part}.txt", ids)
  tree_files.write_classes(root)
  return found


def write_pairs(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  """As UniMatch and CorrMatch have them, with a split that names images."""
  found, lines = {}, {}
  for i, part in enumerate(tree_files.part_images(num_images)):
    label = tree_files.draw_label(i, size)
    image = tree_files.save_image(root / f"JPEGImages/shelf/my {i}.jpg", size)
    tree_files.save_mask(root / f"SegmentationClass/shelf/my {i}.png", label)
    found[f"shelf/my {i}"] = tree_files.Example(image, label, part)
    lines[i] = f"JPEGImages/shelf/my {i}.jpg SegmentationClass/shelf/my {i}.png"
  train = [line for i, line in lines.items() if i < num_images - 2]
  val = [line for i, line in lines.items() if i >= num_images - 2]
  tree_files.write_lines(root / "splits/own/val.txt", val)
  tree_files.write_lines(root / "splits/own/1_8/labeled.txt", train[:2])
  tree_files.write_lines(
    root / "splits/own/1_8/unlabeled.txt",
    [line.split(" SegmentationClass")[0] for line in train[2:]],
  )
  tree_files.write_classes(root)
  return found


def write_paddleseg(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found, lines = {}, {tree_files.TRAIN: [], tree_files.VAL: []}
  for i, part in enumerate(tree_files.part_images(num_images)):
    label = tree_files.draw_label(i, size)
    image = tree_files.save_image(root / f"images/x{i}.jpg", size)
    tree_files.save_mask(root / f"labels/x{i}.png", label)
    found[f"x{i}"] = tree_files.Example(image, label, part)
    lines[part].append(f"images/x{i}.jpg labels/x{i}.png")
  for part, listed in lines.items():
    tree_files.write_lines(root / f"{part}.txt", listed)
  tree_files.write_lines(root / "labels.txt", tree_files.NAMES)
  return found


def write_folders(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found = {}
  for i in range(num_images):
    label = tree_files.draw_label(i, size)
    image = tree_files.save_image(root / f"images/a/{i}.png", size)
    tree_files.save_mask(root / f"masks/a/{i}.png", label)
    found[f"a/{i}"] = tree_files.Example(image, label, tree_files.DRAWN)
  tree_files.write_classes(root)
  return found


def write_carvana(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  """Black and white masks NAME_mask.png, images without one among them."""
  found = {}
  for i in range(num_images):
    label = np.zeros(size, np.uint8)
    label[4:, : 6 + i] = 1
    image = tree_files.save_image(root / f"imgs/car {i}.jpg", size)
    has_mask = i % 4 != 3
    if has_mask:
      tree_files.save_mask(root / f"labels/car {i}_mask.png", label * 255)
    found[f"car {i}"] = tree_files.Example(
      image,
      label if has_mask else None,
      tree_files.DRAWN if has_mask else tree_files.TRAIN,
    )
  return found


def write_beside(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found = {}
  for i in range(num_images):
    label = tree_files.draw_label(i, size)
    image = tree_files.save_image(root / f"p{i}.jpg", size)
    tree_files.save_mask(root / f"p{i}_mask.png", label)
    found[f"p{i}"] = tree_files.Example(image, label, tree_files.DRAWN)
  tree_files.write_lines(root / "class_names.txt", tree_files.NAMES)
  return found


def write_mmsegmentation(
  root, num_images=8, size=(24, 32)
) -> tree_files.Expected:
  found = {}
  for i, part in enumerate(tree_files.part_images(num_images)):
    label = tree_files.draw_label(i, size)
    image = tree_files.save_image(
      root / f"img_dir/{part}/{i}_leftImg8bit.png", size
    )
    tree_files.save_mask(
      root / f"ann_dir/{part}/{i}_gtFine_labelTrainIds.png", label
    )
    found[f"{part}/{i}_leftImg8bit"] = tree_files.Example(image, label, part)
  tree_files.write_classes(root)
  return found


def write_mmsegmentation_from_one(
  root, num_images=8, size=(24, 32)
) -> tree_files.Expected:
  """Values from 1, with 0 for nothing; prepared with --reduce_zero_label."""
  found = {}
  for i, part in enumerate(tree_files.part_images(num_images)):
    label = tree_files.draw_label(i, size)
    stored = np.where(label == tree_files.IGNORED, 0, label + 1)
    image = tree_files.save_image(root / f"img_dir/{part}/{i}.jpg", size)
    tree_files.save_mask(root / f"ann_dir/{part}/{i}.png", stored)
    found[f"{part}/{i}"] = tree_files.Example(image, label, part)
  tree_files.write_classes(root)
  return found


def write_ade20k(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found = {}
  for i, part in enumerate(tree_files.part_images(num_images)):
    folder = {tree_files.TRAIN: "training", tree_files.VAL: "validation"}[part]
    label = tree_files.draw_label(i, size)
    stored = np.where(label == tree_files.IGNORED, 0, label + 1)
    image = tree_files.save_image(root / f"images/{folder}/ADE_{i}.jpg", size)
    tree_files.save_mask(root / f"annotations/{folder}/ADE_{i}.png", stored)
    found[f"{folder}/ADE_{i}"] = tree_files.Example(image, label, part)
  rows = [
    f"{n + 1}\t0.1\t10\t2\t{name}, x" for n, name in enumerate(tree_files.NAMES)
  ]
  header = "Idx\tRatio\tTrain\tVal\tName"
  tree_files.write_lines(root / "objectInfo150.txt", [header, *rows])
  return found


def write_cvat(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found = {}
  for i in range(num_images):
    label = tree_files.draw_label(i, size, ignored=False)
    image = tree_files.save_image(root / f"JPEGImages/day/{i}.jpg", size)
    tree_files.save_mask(
      root / f"SegmentationClass/day/{i}.png", tree_files.to_colors(label)
    )
    tree_files.save_mask(
      root / f"SegmentationObject/day/{i}.png", tree_files.to_colors(label)
    )
    found[f"day/{i}"] = tree_files.Example(image, label, tree_files.DRAWN)
  tree_files.write_lines(root / "ImageSets/Segmentation/default.txt", found)
  lines = [
    f"{n}:{','.join(map(str, c))}::"
    for n, c in zip(tree_files.NAMES, tree_files.COLORS)
  ]
  tree_files.write_lines(
    root / "labelmap.txt", ["# label:color:parts:actions", *lines]
  )
  return found


def write_cvat_subsets(
  root, num_images=8, size=(24, 32)
) -> tree_files.Expected:
  found = write_cvat(root, num_images, size)
  lists = root / "ImageSets/Segmentation"
  (lists / "default.txt").unlink()
  ids = list(found)
  tree_files.write_lines(lists / "Train.txt", ids[:-2])
  tree_files.write_lines(lists / "Validation.txt", ids[-2:])
  return {
    i: dataclasses.replace(
      e, part=tree_files.VAL if i in ids[-2:] else tree_files.TRAIN
    )
    for i, e in found.items()
  }


def write_roboflow(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found = {}
  parts = [*tree_files.part_images(num_images), "test"]
  for i, part in enumerate(parts):
    folder = {
      tree_files.TRAIN: "train",
      tree_files.VAL: "valid",
      "test": "test",
    }[part]
    name = f"{folder}/x{i}_jpg.rf.0af{i}"
    label = tree_files.draw_label(i, size, ignored=False)
    image = tree_files.save_image(root / f"{name}.jpg", size)
    tree_files.save_mask(root / f"{name}_mask.png", label)
    if part != "test":
      found[name] = tree_files.Example(image, label, part)
  for folder in ("train", "valid", "test"):
    with open(root / folder / "_classes.csv", "w", newline="") as file:
      writer = csv.writer(file)
      writer.writerow(["Pixel Value", " Class"])
      writer.writerows(
        [n, f" {name}"] for n, name in enumerate(tree_files.NAMES)
      )
  return found


def write_labelme(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  found = {}
  palette = np.zeros((256, 3), np.uint8)
  palette[:3], palette[255] = tree_files.COLORS, (224, 224, 192)
  for i in range(num_images):
    label = tree_files.draw_label(i, size)
    image = tree_files.save_image(root / f"JPEGImages/n{i}.jpg", size)
    tree_files.save_mask(
      root / f"SegmentationClassPNG/n{i}.png", label, palette
    )
    path = root / f"SegmentationClass/n{i}.npy"
    path.parent.mkdir(exist_ok=True)
    numbers = label.astype(np.int32)
    numbers[label == tree_files.IGNORED] = -1
    np.save(path, numbers)
    tree_files.save_image(
      root / f"SegmentationClassVisualization/n{i}.jpg", size
    )
    found[f"n{i}"] = tree_files.Example(image, label, tree_files.DRAWN)
  tree_files.write_lines(
    root / "class_names.txt", ["_background_", *tree_files.NAMES[1:]]
  )
  return found


def write_supervisely(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  """A project of two datasets, with both ways to name masks."""
  found = {}
  for i in range(num_images):
    folder = f"ds{i % 2}"
    label = tree_files.draw_label(i, size, ignored=False)
    image = tree_files.save_image(root / f"{folder}/img/s{i}.jpg", size)
    mask = f"s{i}.png" if i % 2 else f"s{i}.jpg.png"
    stored = np.repeat(label[..., None], 3, axis=2)
    tree_files.save_mask(root / f"{folder}/masks_machine/{mask}", stored)
    tree_files.save_mask(
      root / f"{folder}/masks_human/{mask}", tree_files.to_colors(label)
    )
    tree_files.write_lines(root / f"{folder}/ann/s{i}.jpg.json", ["{}"])
    found[f"{folder}/s{i}"] = tree_files.Example(image, label, tree_files.DRAWN)
  colors = {name: [n + 1] * 3 for n, name in enumerate(tree_files.NAMES[1:])}
  text = json.dumps(colors)
  (root / "obj_class_to_machine_color.json").write_text(text)
  (root / "meta.json").write_text("{}")
  return found


def write_label_studio(
  root, num_images=8, size=(24, 32)
) -> tree_files.Expected:
  """Class ids are the background's, then the labels' in order of names."""
  found, tasks = {}, []
  labels = {1: "big tree/wood", 2: "sky"}
  for i in range(num_images):
    label = tree_files.draw_label(i, size, ignored=False)
    name = f"0a1b2c{i:02}-photo {i}.jpg"
    image = tree_files.save_image(root / f"images/photo {i}.jpg", size)
    regions = []
    for value, text in labels.items():
      if (label == value).any():
        plain = text.replace("/", "-")
        layer = f"task-{i + 7}-annotation-{i + 90}-by-1-tag-{plain}-0.png"
        tree_files.save_mask(root / layer, (label == value) * np.uint8(255))
        value = {"format": "rle", "rle": [0, 1], "brushlabels": [text]}
        regions.append({"from_name": "tag", "to_name": "image", "value": value})
    annotation = {"id": i + 90, "completed_by": 1, "result": regions}
    tasks.append(
      {
        "id": i + 7,
        "annotations": [annotation],
        "data": {"image": f"/data/upload/1/{name.replace(' ', '%20')}"},
      }
    )
    found[f"photo {i}"] = tree_files.Example(image, label, tree_files.DRAWN)
  (root / "project-1.json").write_text(json.dumps(tasks))
  return found


def write_unlabeled(root, num_images=8, size=(24, 32)) -> tree_files.Expected:
  """Two folders, and a third of images without masks."""
  found = write_folders(root, num_images, size)
  for i in range(3):
    image = tree_files.save_image(root / f"more/a/{i}.jpg", size)
    found[f"unlabeled/a/{i}"] = tree_files.Example(
      image, None, tree_files.TRAIN
    )
  return found


# By name: how the tree is written, and what its preparation needs to be told.
LAYOUTS = {
  "voc": (write_voc, []),
  "pairs": (write_pairs, []),
  "paddleseg": (write_paddleseg, []),
  "folders": (write_folders, []),
  "carvana": (write_carvana, []),
  "beside": (write_beside, []),
  "mmsegmentation": (write_mmsegmentation, []),
  "mmsegmentation_from_one": (
    write_mmsegmentation_from_one,
    ["--reduce_zero_label"],
  ),
  "ade20k": (write_ade20k, []),
  "cvat": (write_cvat, []),
  "cvat_subsets": (write_cvat_subsets, []),
  "roboflow": (write_roboflow, []),
  "labelme": (write_labelme, []),
  "supervisely": (write_supervisely, []),
  "label_studio": (write_label_studio, ["--images=images"]),
  "unlabeled": (write_unlabeled, ["--unlabeled=more"]),
}
