"""The page that shows which images to label first."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from concurrent import futures

import cv2
import numpy as np
from PIL import Image

from u2pl_jax.evaluation import visualize
from u2pl_jax.predict import photographs, ranking, reliability, trained
from u2pl_jax.report import charts, examples, gallery, page, pictures


@dataclasses.dataclass(frozen=True)
class Card:
  """An image in the page.

  Attributes:
    name: its path within the folder that was searched.
    rank: from 1 on.
    size: (height, width) of the pictures.
    shown: the image and what the network makes of it.
    figures: mean entropy, share of unreliable pixels, distance.
    classes: names of the classes found.
  """

  name: str
  rank: int
  size: tuple[int, int]
  shown: tuple[gallery.Shown, ...]
  figures: tuple[float, float, float]
  classes: tuple[str, ...]


def render(
  out: pathlib.Path,
  first: Sequence[ranking.Ranked],
  num_images: int,
  network: trained.Trained,
  rule: reliability.Rule,
  value_range: tuple[int, int] | None = None,
) -> str:
  """The HTML of the page, which needs nothing beside itself.

  Args:
    out: the folder of the predictions.
    first: the first ranks.
    num_images: how many images were ranked.
    network: what labeled them.
    rule: which pixels are reliable.
    value_range: see `photographs.read`.
  """

  def make_card(number, ranked):
    return _make_card(out, number, ranked, network, value_range)

  with futures.ThreadPoolExecutor() as pool:
    cards = list(pool.map(make_card, range(1, len(first) + 1), first))
  template = page.make_environment().get_template("ranking.html.jinja2")
  return template.render(
    cards=cards,
    num_images=num_images,
    origin=network.origin,
    rule=_describe(rule),
    classes=[
      (name, charts.to_hex(color))
      for name, color in zip(network.class_names, network.palette, strict=True)
    ],
  )


def _describe(rule: reliability.Rule) -> str:
  if math.isinf(rule.max_entropy):
    return f"a class is less probable than {rule.min_confidence:g}"
  return f"the entropy is {rule.max_entropy:.3g} nats or more"


def _make_card(
  out: pathlib.Path,
  number: int,
  ranked: ranking.Ranked,
  network: trained.Trained,
  value_range: tuple[int, int] | None,
) -> Card:
  image = photographs.read(ranked.image.path, value_range)
  mask, entropy = (
    np.asarray(Image.open(out / kind / f"{ranked.image.name}.png"))
    for kind in ("masks", "entropy")
  )
  size = examples.small_size(mask.shape, examples.SIDE)
  small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
  labels = examples.shrink_nearest(mask, size)
  palette = network.palette
  gray = examples.shrink_nearest(entropy, size)[..., None].repeat(3, -1)
  drawn = (
    pictures.Picture("Image", small, False),
    pictures.Picture(
      "Overlay", visualize.overlay(small, labels, palette), False
    ),
    pictures.Picture("Mask", visualize.colorize(labels, palette), True),
    pictures.Picture("Entropy", gray, False),
  )
  finding = ranked.finding
  return Card(
    name=ranked.file,
    rank=number,
    size=size,
    shown=gallery.embed(drawn),
    figures=(finding.mean_entropy, finding.unreliable, ranked.unlike),
    classes=tuple(network.class_names[i] for i in finding.classes),
  )
