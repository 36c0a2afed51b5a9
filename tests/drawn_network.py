"""Networks with weights that are drawn, of any encoder and decoder."""

import json

import jax
import numpy as np

from u2pl_jax.models import network as network_lib
from u2pl_jax.predict import trained

NAMES = ("sky", "road", "tree", "house", "car")
PALETTE = ((0, 0, 0), (9, 8, 7), (255, 0, 1), (3, 200, 4), (90, 0, 90))


def make_trained(sections, window=(33, 41)):
  """A network whose statistics and scales are not those of the beginning.

  Args:
    sections: of a config, `model`, `encoder` and `decoder`.
    window: see `trained.Trained`.
  """
  options = {"num_classes": len(NAMES), **json.loads(json.dumps(sections))}
  shapes = network_lib.create(options, len(NAMES)).variable_shapes()
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    name = path[-1].key
    if name in ("var", "scale", "gamma"):
      return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    fan_in = np.prod(leaf.shape[:-1]) if name == "kernel" else 100
    deviation = np.sqrt(2 / fan_in)
    return rng.normal(0, deviation, leaf.shape).astype(np.float32)

  return trained.Trained(
    options=options,
    variables=jax.tree.map_with_path(draw, dict(shapes)),
    class_names=NAMES,
    palette=PALETTE,
    window=window,
    origin="a test",
  )
