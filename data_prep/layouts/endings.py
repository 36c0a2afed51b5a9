"""What names of images and masks end in."""

from data_prep import masks
from u2pl_jax.data import image_files

IMAGES = image_files.ENDINGS
# Arrays of numpy hold class ids, and -1 where ignored.
ARRAY = ".npy"
MASKS = (*masks.MASK_ENDINGS, ARRAY)
# Of what tools lay beside masks; all else there is a mask of another format.
NOTES = (
  ".json", ".xml", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".md", ".html",
  ".log", ".zip", ".cache", ".db", ".lst", "",
)  # fmt: skip
# Values survive in it, and annotation tools write it.
USUAL_MASK = ".png"
