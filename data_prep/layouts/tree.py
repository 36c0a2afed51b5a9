"""What a layout makes of a folder: which image goes with which mask, for what.

Every other module of this package but for a few helpers is one layout. It has

  NAME                        what --layout calls it
  TITLE                       what people call it
  YIELDS_TO                   names of the layouts that go before it where both
                              fit, since they are more specific
  fits(listing, options)      whether a folder looks like it; a cheap look at
                              names
  find(listing, options)      the `Tree`; raises ValueError or OSError, in one
                              line, where something needed is missing
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Options:
  """What the user says about a tree; all paths are relative to its root.

  Attributes:
    layout: name of the layout; empty for what fits.
    images: folder of the images; empty for its usual names.
    masks: folder of the masks; empty for its usual names.
    lists: folder of the id lists; empty for its usual places.
    train_list: name of the list of training images, without ending; empty for
      trainaug where there is one, else train.
    val_list: name of the list of validation images; empty for val.
    splits: folder that holds a folder for each semi-supervised split.
    image_suffix: what names of images end in and their masks' do not.
    mask_suffix: what names of masks end in and their images' do not.
    allow_unmatched: whether masks that match no image are left out.
    unlabeled: folders of images without masks.
  """

  layout: str = ""
  images: str = ""
  masks: str = ""
  lists: str = ""
  train_list: str = ""
  val_list: str = ""
  splits: str = ""
  image_suffix: str = ""
  mask_suffix: str = ""
  allow_unmatched: bool = False
  unlabeled: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Entry:
  """An image and its mask, if it has one.

  Attributes:
    id: the example's id.
    image: file of the image.
    mask: file of the mask.
    layers: instead of `mask`: class name and file of each layer of it.
  """

  id: str
  image: pathlib.Path
  mask: pathlib.Path | None = None
  layers: tuple[tuple[str, pathlib.Path], ...] = ()

  @property
  def has_mask(self) -> bool:
    return self.mask is not None or bool(self.layers)


@dataclasses.dataclass(frozen=True)
class Tree:
  """What is in a folder.

  Attributes:
    title: what people call its layout.
    train: training images, with and without masks.
    val: validation images; None if no list or folder says which they are.
    split_lists: (labeled, unlabeled) training ids, by semi-supervised split.
    class_folders: where files of classes may lie; all that do must agree.
    reduce_zero_label: whether 0 in its masks is no class, and classes start
      at 1.
    problems: what is wrong with its files and lists, one line each.
    notes: what was found without being told, or is left out, one line each.
  """

  title: str
  train: Sequence[Entry]
  val: Sequence[Entry] | None
  class_folders: Sequence[pathlib.Path]
  split_lists: Mapping[str, tuple[Sequence[str], Sequence[str]]] = (
    dataclasses.field(default_factory=dict)
  )
  reduce_zero_label: bool = False
  problems: Sequence[str] = ()
  notes: Sequence[str] = ()

  @property
  def entries(self) -> list[Entry]:
    """All images: for training, then for validation."""
    return [*self.train, *(self.val or ())]
