"""Programs beside training; each runs as `python -m u2pl_jax.tools.NAME`."""

from u2pl_jax.runtime import interrupt

interrupt.end_command()
