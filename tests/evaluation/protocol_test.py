import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.evaluation import inference, protocol

IMAGES = np.random.default_rng(0).normal(size=(2, 9, 14, 3)).astype("float32")


def left_to_right(images):
  """Logits that grow from left to right, whatever the image."""
  ramp = jnp.arange(images.shape[2], dtype=jnp.float32)
  return jnp.broadcast_to(ramp[:, None], (*images.shape[:3], 1))


def pointwise(images):
  return jnp.stack([images.sum(-1), images[..., 0] * 2], axis=-1)


@pytest.mark.parametrize(
  "settings, name",
  [
    ({"kind": "crop"}, "crop"),
    ({"kind": "whole", "flip": True}, "whole_flip"),
    ({"kind": "slide", "scales": (0.75, 1.0)}, "slide_0.75_1"),
    ({"kind": "slide", "base_size": 2048}, "slide_base2048"),
    ({"kind": "slide", "stride_rate": 0.5}, "slide_stride0.5"),
  ],
)
def test_names_say_what_is_done(settings, name):
  assert protocol.Protocol(window=(5, 7), **settings).name == name


@pytest.mark.parametrize(
  "settings, message",
  [
    ({"kind": "center"}, "eval.protocol='center': expected one of crop, whole"),
    ({"kind": "crop", "scales": ()}, "eval.scales"),
    ({"kind": "crop", "scales": (1, 0)}, "eval.scales"),
    ({"kind": "whole", "base_size": -1}, "eval.base_size=-1: must be >= 0"),
    ({"kind": "crop", "base_size": 9}, "0 with eval.protocol=crop"),
    ({"kind": "slide", "stride_rate": 1.5}, "eval.stride_rate=1.5"),
  ],
)
def test_unusable_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    protocol.Protocol(window=(5, 7), **settings)


def test_long_names_tell_windows_apart():
  names = {protocol.Protocol("slide", (side, 9)).long_name for side in (5, 6)}
  assert names == {"slide_5x9", "slide_6x9"}
  assert protocol.Protocol("whole", (5, 9)).long_name == "whole"


def test_only_crops_cut_images():
  window = (5, 7)
  kinds = {k: protocol.Protocol(k, window).crop_size for k in protocol.KINDS}
  assert kinds == {"crop": window, "whole": None, "slide": None}


def test_one_view_is_the_networks_own_logits():
  for kind in ("crop", "whole"):
    logits = protocol.Protocol(kind, (5, 7)).compute_logits(pointwise, IMAGES)
    np.testing.assert_array_equal(logits, pointwise(IMAGES))


def test_flipping_averages_an_image_and_its_mirror_image():
  whole = protocol.Protocol("whole", (5, 7), flip=True)
  logits = whole.compute_logits(left_to_right, IMAGES)
  np.testing.assert_allclose(logits, 6.5)  # Columns 0 to 13.


def test_scales_are_averaged():
  def mean_width(images):
    shape = (*images.shape[:3], 1)
    return jnp.full(shape, images.shape[2], jnp.float32)

  whole = protocol.Protocol("whole", (5, 7), scales=(0.5, 1.0, 2.0))
  logits = whole.compute_logits(mean_width, IMAGES)
  assert logits.shape == (2, 9, 14, 1)
  np.testing.assert_allclose(logits, (7 + 14 + 28) / 3, rtol=1e-6)


def test_windows_slide_over_each_scale():
  slide = protocol.Protocol("slide", (5, 7), scales=(0.5, 1.0), stride_rate=0.5)
  expected = inference.sum_scales(
    lambda images: inference.slide(
      left_to_right, images, (5, 7), stride_rate=0.5
    ),
    IMAGES,
    [(4, 7), (9, 14)],
  )
  logits = slide.compute_logits(left_to_right, IMAGES)
  np.testing.assert_allclose(logits, expected / 2, rtol=1e-6)


def test_sizes_are_multiples_of_the_images_or_of_the_base():
  scales = (0.5, 1.0)
  own = protocol.Protocol("whole", (5, 7), scales=scales)
  assert own.sizes((375, 500)) == [(188, 250), (375, 500)]
  base = protocol.Protocol("slide", (5, 7), scales=scales, base_size=2048)
  assert base.sizes((512, 1024)) == [(512, 1024), (1024, 2048)]
