"""U2PL with Adaptive Equalization Learning; begin with `method`.

AEL: Hu et al., NeurIPS 2021, arXiv 2110.05474. Reference for the combination:
github.com/Haochen-Wang409/U2PL, branch with_AEL; algorithm section 5.
"""

from u2pl_jax.methods.u2pl_ael.method import (
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
