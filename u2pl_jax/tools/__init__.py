"""Programs beside training; each runs as `python -m u2pl_jax.tools.NAME`."""
