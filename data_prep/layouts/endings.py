"""What names of images and masks end in."""

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".mpo")
MASKS = (".png",)
