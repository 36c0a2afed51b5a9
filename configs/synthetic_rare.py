"""Generated scenes in which two of the eight classes are rare.

  python main.py --config=configs/synthetic_rare.py --workdir=runs/rare

As synthetic.py, but that one object in sixteen is a star or a ring, and not
one in four. Makes its data. Scores measured here: docs/results.md.
"""

from ml_collections import config_dict

from configs import synthetic


def get_config(arg: str | None = None) -> config_dict.ConfigDict:
  return synthetic.get_config(arg, name="synthetic_rare")
