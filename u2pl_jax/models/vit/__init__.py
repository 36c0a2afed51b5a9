"""A vision transformer, for the encoders that are one."""
