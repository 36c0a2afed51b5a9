r"""Trains and evaluates a network on labeled and unlabeled images.

python main.py --config=configs/synthetic.py --workdir=runs/synthetic
python main.py --config=configs/voc_1464.py --workdir=DIR --config.seed=1
python main.py --config=configs/voc_1464.py --dry_run --topology=v5e:4x4
python main.py --mode=eval --config=... --workdir=DIR --checkpoint=last \
  --config.eval.protocol=slide --save_predictions=color
"""

import sys

from u2pl_jax.runtime import interrupt

if __name__ == "__main__":  # Before imports that take seconds.
  interrupt.end_program()

from u2pl_jax.tools import runs

if __name__ == "__main__":
  runs.main(sys.argv[1:], __doc__)
