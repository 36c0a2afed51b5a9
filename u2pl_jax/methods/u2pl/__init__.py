"""U2PL (Wang et al., CVPR 2022); begin with `method`."""

from u2pl_jax.methods.u2pl.method import (
  NAMES,
  OPTIONS,
  TITLE,
  USES_REPRESENTATION,
  create,
  recipes,
)

__all__ = [
  "NAMES",
  "OPTIONS",
  "TITLE",
  "USES_REPRESENTATION",
  "create",
  "recipes",
]
