"""A folder of images and a folder of masks, flat or nested.

  images/NAME.jpg      or img, imgs, photos, ... or what --images says
  masks/NAME.png       or ann, labels, gt, ... or what --masks says

Names agree, but for a prefix or suffix that all masks have: NAME_mask.png.
Folders train, val and test anywhere among these serve as lists: images/train,
train/images, train_images, or train beside train_masks.
"""

from collections.abc import Sequence

from data_prep.layouts import endings, files, matching, places, tree, words

NAME = "folders"
TITLE = "two folders"
YIELDS_TO = (
  "voc", "pairs", "cvat", "ade20k", "mmsegmentation", "labelme", "roboflow",
  "supervisely", "label_studio",
)  # fmt: skip


def fits(listing: files.Listing, options: tree.Options) -> bool:
  if options.images and options.images == options.masks:
    return False  # Then they lie beside each other.
  try:
    found = places.find(listing, options.images, options.masks)
  except FileNotFoundError:
    # The user speaks of two folders; `find` says which is not there.
    return bool(options.images and options.masks)
  return has_masks(found) and bool(choose_images(found))


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  return read_tree(listing, TITLE, options)


def has_masks(found: Sequence[places.Place]) -> bool:
  return any(place.kind == words.MASK for place in found)


def read_tree(
  listing: files.Listing,
  title: str,
  options: tree.Options,
  *,
  images: str = "",
  masks: str = "",
  reduce_zero_label: bool = False,
  notes: Sequence[str] = (),
) -> tree.Tree:
  """Reads a tree that has images and masks in folders of their own.

  Args:
    listing: the tree.
    title: of the layout.
    options: what the user says; goes before the next two.
    images: see `places.find`.
    masks: see `places.find`.
    reduce_zero_label: see `tree.Tree`.
    notes: of the layout.

  Raises:
    FileNotFoundError: a folder is missing.
    ValueError: several folders may be meant, or names match in several ways.
  """
  found = places.find(listing, options.images or images, options.masks or masks)
  for kind in (words.MASK, words.IMAGE):
    names = places.kind_words(found, kind)
    if len(names) > 1:
      raise ValueError(
        f"{listing.root}: folders of {len(names)} names may hold the {kind}s; "
        f"give --{kind}s={'|'.join(names)}"
      )
  chosen = choose_images(found)
  mask_words = places.kind_words(found, words.MASK)
  mask_files = [
    p for p in found if p.kind == words.MASK and p.kind_word in mask_words
  ]
  for kind, some in ((words.IMAGE, chosen), (words.MASK, mask_files)):
    if not some:
      raise FileNotFoundError(
        f"{listing.root}: no folder of {kind}s in it; give --{kind}s=FOLDER"
      )
  used = {place.path for place in [*chosen, *mask_files]}
  rest = [place for place in found if place.path not in used]
  return matching.to_tree(
    title,
    chosen,
    mask_files,
    options,
    (listing.root,),
    reduce_zero_label=reduce_zero_label,
    notes=[*notes, *note_rest(listing, rest)],
  )


def choose_images(found: Sequence[places.Place]) -> list[places.Place]:
  """The images: what folders say is, or else what no folder says anything of.

  As in train beside train_masks; but only where there are masks.
  """
  images = [p for p in found if p.kind == words.IMAGE]
  told = {place.part for place in images}
  masked = {p.part for p in found if p.kind == words.MASK} - told
  return [
    place
    for place in found
    if place.ending in endings.IMAGES
    and (place.kind == words.IMAGE or (not place.kind and place.part in masked))
  ]


def note_rest(
  listing: files.Listing, rest: Sequence[places.Place]
) -> list[str]:
  """Says which image files belong to neither folder."""
  rest = [p for p in rest if p.path.is_relative_to(listing.root)]
  if not rest:
    return []
  tops = {p.path.relative_to(listing.root).parent.as_posix() for p in rest}
  shown = ", ".join(sorted(tops)[:3]) + (", ..." if len(tops) > 3 else "")
  return [
    f"left out: {len(rest)} other image files, in {shown}; --unlabeled=FOLDER "
    "adds images without masks"
  ]
