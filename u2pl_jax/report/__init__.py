"""A run as one page: curves, scores by class, and what it does to images."""
