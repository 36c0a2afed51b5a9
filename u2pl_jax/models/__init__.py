"""The segmentation network and the import of PyTorch weights."""
