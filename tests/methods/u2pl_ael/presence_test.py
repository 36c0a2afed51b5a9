import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.methods.u2pl_ael import presence


def test_an_image_shows_a_class_from_a_share_of_its_pixels_on():
  labels = np.zeros((1, 10, 10), np.int32)
  labels[0, 0, :3], labels[0, 1, :2] = 1, 2
  shown = presence.shown_classes(labels, 4, 0.03)
  assert shown.tolist() == [[True, True, False, False]]
  # Of no size at all, but on one pixel at least.
  shown = presence.shown_classes(labels, 4, 0.0)
  assert shown.tolist() == [[True, True, True, False]]


def test_the_last_entry_of_an_image_stays():
  present = jnp.zeros((2, 3), bool).at[1, 2].set(True)
  shown = np.array([[1, 1], [0, 1], [1, 0]]) > 0
  written = presence.write(present, np.array([0, 1, 0]), shown)
  assert written.astype(int).tolist() == [[1, 0, 0], [0, 1, 1]]


def test_second_images_show_the_class_where_any_does():
  present = np.zeros((2, 5), bool)
  present[0, [1, 3]] = True
  classes, images = jax.jit(presence.draw, static_argnums=3)(
    jax.random.key(0), np.float32([0.5, 0.5]), present, 400
  )
  assert set(images[classes == 0].tolist()) == {1, 3}
  assert set(images[classes == 1].tolist()) == {0, 1, 2, 3, 4}
