"""What names of images and masks end in."""

from data_prep import masks
from u2pl_jax.data import image_files

IMAGES = image_files.ENDINGS
MASKS = masks.MASK_ENDINGS
# Values survive in it, and annotation tools write it.
USUAL_MASK = ".png"
