"""What a method says of its lessons in pictures, for people to look at.

`Method.illustrate` names the arrays of a lesson that are worth looking at, and
says in words what they show; how they are drawn is up to the report.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL

KINDS = ("image", "classes", "share", "marks")
# How a mark is meant: what is taught, what is not, what lies between, nothing.
TONES = ("good", "bad", "neutral", "none")
# Of which images of the batch a group is, in their order; "" for others.
SOURCES = ("labeled", "unlabeled", "")


@flax.struct.dataclass
class Picture:
  """A picture of each image of a group.

  Attributes:
    title: what it shows, in a few words; no two of a group have the same.
    note: how to read it, a sentence.
    kind: what `values` are. "image": uint8 RGB [B, H, W, 3], or float32 as a
      `View` has them; "classes": labels, int32 [B, h, w], 255 for none;
      "share": float32 [B, h, w] in [0, 1]; "marks": int32 [B, h, w], places
      in `marks`.
    values: see `kind`; of any height and width.
    frame: [B, H, W] bool; the border of this area is drawn. None for none.
    marks: the name and the tone of each mark.
  """

  title: str = flax.struct.field(pytree_node=False)
  note: str = flax.struct.field(pytree_node=False)
  kind: str = flax.struct.field(pytree_node=False)
  values: jax.Array
  frame: jax.Array | None = None
  marks: tuple[tuple[str, str], ...] = flax.struct.field(
    pytree_node=False, default=()
  )


@flax.struct.dataclass
class Group:
  """Images of one kind, each with the same pictures.

  Attributes:
    title: what these images are.
    source: one of `SOURCES`.
    pictures: from left to right.
  """

  title: str = flax.struct.field(pytree_node=False)
  source: str = flax.struct.field(pytree_node=False)
  pictures: tuple[Picture, ...]


def show_views(
  batch: Mapping[str, jax.Array], lesson: Any
) -> tuple[Group, ...]:
  """What the student sees: all that is known of a method that says no more."""
  del batch
  note = "The images of this forward pass of the student."
  return tuple(
    Group(
      f"Pass {number} of the student",
      "",
      (Picture("View", note, "image", view.images),),
    )
    for number, view in enumerate(lesson.views, start=1)
  )


def of_labeled(images: jax.Array, labels: jax.Array, *others: Picture) -> Group:
  """The group of the labeled images.

  Args:
    images: [B, H, W, 3], see `Picture`.
    labels: [B, H, W] int32.
    *others: more pictures of them.
  """
  note = "What the student sees, a random crop."
  return Group(
    "Labeled images",
    "labeled",
    (
      Picture("Image", note, "image", images),
      Picture("Label", "White where there is none.", "classes", labels),
      *others,
    ),
  )


def mark_reliable(
  reliable: jax.Array, unreliable: jax.Array, valid: jax.Array
) -> Picture:
  """Which pixels are trusted.

  Args:
    reliable, unreliable: [B, H, W] bool; a pixel may be neither.
    valid: [B, H, W] bool, pixels that have a pseudo-label.
  """
  kinds = jnp.where(unreliable, 1, jnp.where(reliable, 0, 2))
  return Picture(
    "Reliability",
    "Reliable pixels can be anchors, unreliable ones negatives.",
    "marks",
    jnp.where(valid, kinds, 3),
    marks=(
      ("reliable", "good"),
      ("unreliable", "bad"),
      ("neither", "neutral"),
      ("no label", "none"),
    ),
  )


def share_of_classes(offered: jax.Array) -> Picture:
  """Of how many classes a pixel is a negative.

  Args:
    offered: [B, h, w, K] bool, whether it gives each class negative keys.
  """
  return Picture(
    "Negatives",
    "The share of the classes that the pixel is a negative of: black for none,"
    " white for all.",
    "share",
    jnp.mean(offered.astype(jnp.float32), axis=-1),
  )


def with_levels(
  groups: tuple[Group, ...], denormalize: Callable[[jax.Array], jax.Array]
) -> tuple[Group, ...]:
  """The groups with every image as uint8 RGB.

  Args:
    groups: of a lesson.
    denormalize: of the network, to uint8 from float32 as a `View` has it.
  """

  def of(picture):
    if picture.kind != "image" or picture.values.dtype == jnp.uint8:
      return picture
    return picture.replace(values=denormalize(picture.values))

  return tuple(
    group.replace(pictures=tuple(map(of, group.pictures))) for group in groups
  )


def keep(labels: jax.Array, is_kept: jax.Array) -> jax.Array:
  """Labels [B, H, W] int32 where they are kept, 255 elsewhere."""
  return jnp.where(is_kept, labels, IGNORE_LABEL)
