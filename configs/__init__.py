"""Protocols, each a file with `get_config(argument)`; see `common`."""
