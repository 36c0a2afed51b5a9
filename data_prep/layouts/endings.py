"""What names of images and masks end in."""

from u2pl_jax.data import image_files

IMAGES = image_files.ENDINGS
MASKS = (".png",)
