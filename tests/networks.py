"""Networks by their options in one flat list, whatever section they are in."""

from u2pl_jax.models import network


def make_sections(*, encoder="resnet101", decoder="deeplab", **options):
  """The defaults, with some options changed; no name is in two sections."""
  sections = network.sections(encoder, decoder)
  for name, value in options.items():
    (section,) = (s for s in sections.values() if name in s)
    section[name] = value
  return sections


def make(*, num_classes, **options):
  return network.create(make_sections(**options), num_classes)
