"""DINOv2's encoder with four narrow blocks, and a DPT head that fits it."""

from u2pl_jax.models import network
from u2pl_jax.models.encoders import dinov2
from u2pl_jax.models.vit import transformer

NAMES = ("tests.tiny_vit",)
MEAN_RGB, STD_RGB = dinov2.MEAN_RGB, dinov2.STD_RGB
MULTIPLE = dinov2.MULTIPLE
IDLE = dinov2.IDLE
Options = dinov2.Options
WIDTH, DEPTH = 24, 4


def create(name, options, *, dtype, remat):
  del name
  return transformer.Transformer(
    width=WIDTH,
    depth=DEPTH,
    num_heads=2,
    taken=tuple(range(DEPTH)),
    grid=4,
    dtype=dtype,
    remat=remat,
    **options.to_section(),
  )


def list_layers(name, options):
  del name, options
  first = ("patch_embed", "cls_token", "pos_embed", "mask_token")
  return (first, *((f"blocks_{i}",) for i in range(DEPTH)), ("norm",))


def make_sections(**changes):
  """Sections of a config, with some keys changed."""
  sections = network.sections("tests.tiny_vit", "dpt")
  keys = {
    "decoder.projections": (4, 5, 6, 7),
    "decoder.channels": 8,
    "decoder.rep_channels": 6,
  } | changes
  for key, value in keys.items():
    section, _, name = key.partition(".")
    assert name in sections[section], key
    sections[section][name] = value
  return sections
