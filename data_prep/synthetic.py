"""Generates a dataset of scenes, for runs that need no downloads.

A scene is two or three textured surfaces with some textured shapes on top, one
occluding another. What tells the classes apart is texture and shape; colors
say little, since classes share them and each object draws its own. A global
light gradient, blur and sensor noise come on top, and two of the shapes are
rare. With few labeled scenes a network learns colors and single poses; with
many it solves the task.

  python -m data_prep.synthetic --data_dir=data
"""

import functools
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from data_prep import command, examples, textures, writer
from u2pl_jax.data import datasets
from u2pl_jax.runtime import command_line

CLASS_NAMES = (
  "clouds", "meadow", "tiles", "planks", "ball", "crate", "star", "ring"
)  # fmt: skip
PALETTE = (
  (120, 170, 220),
  (80, 160, 60),
  (200, 200, 200),
  (150, 100, 50),
  (220, 60, 60),
  (240, 200, 40),
  (170, 60, 200),
  (40, 200, 200),
)
# Part of the stored parameters: raise it when scenes come out differently.
GENERATOR_VERSION = 1

_SURFACES = (0, 1, 2, 3)
_SURFACE_PROBS = (0.34, 0.3, 0.2, 0.16)
_OBJECTS = (4, 5, 6, 7)
_OBJECT_PROBS = (0.4, 0.36, 0.13, 0.11)
_OBJECTS_PER_SCENE = (3, 7)
_OBJECT_RADIUS = (0.09, 0.23)  # Of the image's side.
# Hue anchors, in [0, 1): every one is shared by two or more classes.
_HUES = (0.58, 0.3, 0.3, 0.08, 0.08, 0.08, 0.58, 0.3)
_HUE_STD = 0.09
_TEXTURE_CONTRAST = (0.3, 0.55)
_LIGHT_GRADIENT = 0.35
_NOISE_STD = (0.02, 0.06)
# Of _OBJECTS, those that can be made rarer still.
_RARE = (6, 7)
_MAX_SPLIT_DRAWS = 1000
# Parameters that are stored only where they are given.
_OPTIONAL = {"rare_percent": None, "object_scale": None, "foreground": None}
# Datasets that a run makes for itself, and what is special about each.
MADE_BY_RUNS = {
  "synthetic": {},
  "synthetic_rare": {"rare_percent": 6},
  "synthetic_balls": {"object_scale": 0.3, "foreground": "ball"},
}


def generate_scene(
  rng: np.random.Generator,
  size: int,
  rare_percent: float | None = None,
  object_scale: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Draws a scene.

  Args:
    rng: the only source of randomness.
    size: side of the square image, in pixels.
    rare_percent: of the objects are stars or rings; None for the usual 24.
    object_scale: times the usual width and height of objects; None for 1.

  Returns:
    image uint8 [size, size, 3] RGB and label uint8 [size, size].
  """
  axis = (np.arange(size) + 0.5) / size
  y, x = np.meshgrid(axis, axis, indexing="ij")
  image = np.zeros((size, size, 3))
  label = np.zeros((size, size), np.uint8)
  for class_id, region in _draw_surfaces(rng, x, y):
    _paint(rng, image, label, class_id, region, x, y)
  num_objects = rng.integers(*_OBJECTS_PER_SCENE, endpoint=True)
  # Far to near: what is nearer is larger and hides what is behind it.
  for depth in np.sort(rng.random(num_objects)):
    class_id = rng.choice(_OBJECTS, p=_object_probs(rare_percent))
    low, high = np.multiply(_OBJECT_RADIUS, object_scale or 1)
    radius = (low + depth * (high - low)) * rng.uniform(0.8, 1.25)
    region, u, v = _draw_shape(rng, class_id, radius, x, y)
    _paint(rng, image, label, class_id, region, u, v)
  return _photograph(rng, image, x, y), label


def _object_probs(rare_percent: float | None) -> np.ndarray:
  """How likely each object is."""
  probs = np.array(_OBJECT_PROBS)
  if rare_percent is None:
    return probs
  is_rare = np.isin(_OBJECTS, _RARE)
  wanted = np.where(is_rare, rare_percent, 100 - rare_percent) / 100
  total = np.where(is_rare, probs[is_rare].sum(), probs[~is_rare].sum())
  return wanted * probs / total


def _draw_surfaces(rng, x, y):
  """Yields the surfaces of a scene, each with the region it fills."""
  count = rng.integers(2, 3, endpoint=True)
  classes = rng.choice(_SURFACES, count, replace=False, p=_SURFACE_PROBS)
  yield classes[0], np.ones(x.shape, bool)
  for class_id in classes[1:]:
    angle = rng.uniform(0, 2 * np.pi)
    distance = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    ripple = 0.25 * (textures.smooth_noise(rng, len(x), 4) - 0.5)
    yield class_id, distance + ripple > rng.uniform(-0.12, 0.25)


def _draw_shape(rng, class_id, radius, x, y):
  """Returns a shape's region and the coordinates fixed to it, unit image."""
  angle = rng.uniform(0, 2 * np.pi)
  stretch = rng.uniform(0.75, 1.3)
  center_x, center_y = rng.uniform(0.05, 0.95, 2)
  dx, dy = (x - center_x) / radius, (y - center_y) / radius
  u = (np.cos(angle) * dx + np.sin(angle) * dy) * stretch
  v = (np.cos(angle) * dy - np.sin(angle) * dx) / stretch
  distance = np.hypot(u, v)
  name = CLASS_NAMES[class_id]
  if name == "ball":
    region = distance < 1
  elif name == "crate":
    region = np.maximum(np.abs(u), np.abs(v)) < 0.9
  elif name == "star":
    region = distance < 0.85 + 0.4 * np.cos(5 * np.arctan2(v, u))
  else:
    region = (distance < 1.1) & (distance > 0.6)
  return region, u * radius, v * radius


def _paint(rng, image, label, class_id, region, x, y):
  """Fills `region` with a class: its texture in two colors drawn for it."""
  pattern = textures.draw_texture(rng, CLASS_NAMES[class_id], x, y)[..., None]
  hue = rng.normal(_HUES[class_id], _HUE_STD)
  color = _to_rgb(hue, rng.uniform(0.15, 0.6), rng.uniform(0.45, 0.8))
  contrast = rng.uniform(*_TEXTURE_CONTRAST)
  other = _to_rgb(hue + rng.normal(0, 0.06), rng.uniform(0.15, 0.6), 0.6)
  pixels = color * (1 + contrast * (pattern - 0.5)) + 0.15 * pattern * other
  image[region] = pixels[region]
  label[region] = class_id


def _to_rgb(hue, saturation, value):
  """Converts a color, each part in [0, 1] (hue modulo 1), to RGB."""
  k = (np.array([5, 3, 1]) + 6 * hue) % 6
  return value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))


def _photograph(rng, image, x, y):
  """Lights the scene from one side, blurs it, adds noise; returns uint8."""
  angle = rng.uniform(0, 2 * np.pi)
  light = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
  exposure = rng.uniform(0.75, 1.2)
  image = image * (exposure * (1 + 2 * _LIGHT_GRADIENT * light))[..., None]
  strength = rng.uniform(0.1, 0.4)
  for _ in range(2):  # Once down the rows, once across the columns.
    above = np.concatenate([image[:1], image[:-1]])
    below = np.concatenate([image[1:], image[-1:]])
    image = (1 - strength) * image + strength / 2 * (above + below)
    image = image.swapaxes(0, 1)
  image = image + rng.normal(0, rng.uniform(*_NOISE_STD), image.shape)
  return np.round(255 * image.clip(0, 1)).astype(np.uint8)


def prepare(
  data_dir: str | pathlib.Path,
  *,
  name: str = "synthetic",
  num_labeled: int = 24,
  num_unlabeled: int = 512,
  num_val: int = 96,
  image_size: int = 96,
  seed: int = 0,
  rare_percent: float | None = None,
  object_scale: float | None = None,
  foreground: str | None = None,
) -> pathlib.Path:
  """Generates the dataset, unless it is there already.

  Its one semi-supervised split is called after the number of labeled images,
  e.g. "24"; every class occurs in at least two of these.

  Args:
    data_dir: folder of all datasets.
    name: the dataset's name.
    num_labeled: training images with masks.
    num_unlabeled: training images whose masks are not used.
    num_val: validation images.
    image_size: side of the square images, in pixels.
    seed: fixes the scenes.
    rare_percent: see `generate_scene`.
    object_scale: the same.
    foreground: makes a dataset of two classes, this one and "background", which
      all others are.

  Returns:
    The dataset's folder.

  Raises:
    ValueError: a dataset of this name was made with other parameters, or the
      arguments are unusable.
    OSError: the dataset cannot be written.
  """
  parameters = {
    "source": "synthetic",
    "generator_version": GENERATOR_VERSION,
    "num_labeled": num_labeled,
    "num_unlabeled": num_unlabeled,
    "num_val": num_val,
    "image_size": image_size,
    "seed": seed,
  }
  if rare_percent is not None:  # Else as before there was this option.
    parameters["rare_percent"] = rare_percent
    if not 0 < rare_percent < 100:
      raise ValueError(
        f"synthetic: rare_percent={rare_percent} must be between 0 and 100"
      )
  if object_scale is not None:
    parameters["object_scale"] = object_scale
    if not 0 < object_scale <= 2:
      raise ValueError(
        f"synthetic: object_scale={object_scale} must be above 0, at most 2"
      )
  if foreground is not None:
    parameters["foreground"] = foreground
    if foreground not in CLASS_NAMES:
      raise ValueError(
        f"synthetic: foreground={foreground!r} must be one of"
        f" {', '.join(CLASS_NAMES)}"
      )
  if min(num_labeled, num_unlabeled, num_val) < 1 or image_size < 16:
    raise ValueError(
      "synthetic: at least one image of each kind, 16 pixels wide, is needed"
    )
  with writer.preparation_lock(data_dir):
    path = datasets.dataset_path(name, data_dir)
    if path.exists():
      _check_same(datasets.open_dataset(name, data_dir), parameters)
      return path
    scenes = _generate_scenes(num_labeled + num_unlabeled + num_val, parameters)
    source = _make_source(scenes, parameters)
    return writer.write_dataset(source, name=name, data_dir=data_dir)


def _check_same(dataset: datasets.Dataset, parameters: dict[str, object]):
  """Raises ValueError if `dataset` was made with other parameters."""
  found = dataset.parameters
  differences = [
    f"{key}={found.get(key)}, not {value}"
    for key, value in (_OPTIONAL | parameters).items()
    if found.get(key) != value
  ]
  if differences:
    raise ValueError(
      f"{dataset.path} was made with {'; '.join(differences)}: delete it, or "
      "give another name or data_dir"
    )


def _generate_scenes(count, parameters):
  """Returns `count` scenes, each from a seed of its own."""
  scenes = [
    generate_scene(
      np.random.default_rng([parameters["seed"], i]),
      parameters["image_size"],
      parameters.get("rare_percent"),
      parameters.get("object_scale"),
    )
    for i in range(count)
  ]
  if "foreground" not in parameters:
    return scenes
  foreground = CLASS_NAMES.index(parameters["foreground"])
  return [(image, np.uint8(label == foreground)) for image, label in scenes]


def _make_source(scenes, parameters) -> writer.Source:
  """Lays scenes out as the two TFDS splits and the lists of the split."""
  num_train = parameters["num_labeled"] + parameters["num_unlabeled"]
  train = _to_raw_examples("train", scenes[:num_train])
  class_names, palette = _list_classes(parameters.get("foreground"))
  class_ids = np.arange(len(class_names))
  presence = [np.isin(class_ids, label) for _, label in scenes[:num_train]]
  labeled = _draw_labeled(
    np.stack(presence), parameters["num_labeled"], parameters["seed"]
  )
  lists = (
    [raw.id for i, raw in enumerate(train) if i in labeled],
    [raw.id for i, raw in enumerate(train) if i not in labeled],
  )
  return writer.Source(
    class_names=class_names,
    palette=palette,
    examples={
      "train": train,
      "val": _to_raw_examples("val", scenes[num_train:]),
    },
    split_lists={str(parameters["num_labeled"]): lists},
    parameters=parameters,
  )


def _list_classes(foreground: str | None):
  """Returns names and colors of the classes."""
  if foreground is None:
    return CLASS_NAMES, PALETTE
  color = PALETTE[CLASS_NAMES.index(foreground)]
  return ("background", foreground), ((0, 0, 0), color)


def _to_raw_examples(split, scenes) -> list[examples.RawExample]:
  def to_file(example_id, pixels):
    read = functools.partial(examples.encode_png, pixels)
    return examples.File(example_id, read)

  ids = [f"{split}_{i:05d}" for i in range(len(scenes))]
  return [
    examples.RawExample(
      i, to_file(i, image), examples.id_mask(to_file(i, label))
    )
    for i, (image, label) in zip(ids, scenes)
  ]


def _draw_labeled(presence: np.ndarray, count: int, seed: int) -> set[int]:
  """Draws `count` images so that each class is in at least two of them.

  Args:
    presence: [n, K] bool, whether image n shows class k.
    count: number of images to draw.
    seed: fixes the draw.
  """
  rng = np.random.default_rng([seed, len(presence), count])
  for _ in range(_MAX_SPLIT_DRAWS):
    drawn = rng.permutation(len(presence))[:count]
    if (presence[drawn].sum(0) >= 2).all():
      return set(drawn.tolist())
  raise ValueError(
    f"synthetic: {count} labeled images are too few to show each of the "
    f"{presence.shape[1]} classes twice"
  )


def main(argv: Sequence[str] | None = None) -> int:
  parser = command_line.make_parser("data_prep.synthetic", __doc__)
  parser.add_argument(
    "--data_dir", required=True, help="folder that holds all datasets"
  )
  parser.add_argument("--name", default="synthetic")
  parser.add_argument("--num_labeled", type=int, default=24)
  parser.add_argument("--num_unlabeled", type=int, default=512)
  parser.add_argument("--num_val", type=int, default=96)
  parser.add_argument(
    "--image_size", type=int, default=96, help="side in pixels"
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--foreground", help="a class; all others are then one, the background"
  )
  parser.add_argument(
    "--rare_percent",
    type=float,
    help="stars and rings among the objects; 24 unless given",
  )
  parser.add_argument(
    "--object_scale", type=float, help="width of objects; 1 unless given"
  )
  args = parser.parse_args(argv)
  return command.run(lambda: prepare(**vars(args)))


if __name__ == "__main__":
  sys.exit(main())
