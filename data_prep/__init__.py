"""Raw data in, checked TFDS datasets in ArrayRecord form out.

Run before training; nothing here is needed while training.
"""

from u2pl_jax.runtime import interrupt

interrupt.end_command()
