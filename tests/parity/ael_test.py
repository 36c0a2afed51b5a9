"""Single functions of the branch with_AEL, recorded in one file."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import chance, golden
from u2pl_jax.methods.u2pl_ael import (
  boxes,
  confidence,
  consistency,
  copy_paste,
  presence,
)

# Other recordings compare the same functions at once.
pytestmark = golden.SLOW

_COLUMNS = ("mean", "std", "min", "max", "q05", "q25", "q50", "q75", "q95")
_RECORDED_BOXES = 2000
_BOX_DRAWS = 500
_SEEDS = 400


@golden.every_file("ael")
def test_confidence(path):
  arrays = golden.load(path)
  logits = golden.channels_last(arrays["confidence/student_logits_sup"])
  value, seen = confidence.measure(
    logits, arrays["confidence/label"], mean="pixel"
  )
  expected = arrays["confidence/value"]
  np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
  actual = confidence.update(
    arrays["confidence/criterion_before"][0],
    value,
    seen,
    momentum=0.999,
    absent="zero",
  )
  expected = arrays["confidence/criterion_after_momentum_0.999"][0]
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def _consistency_cases(arrays):
  """(recorded arrays by name, whether sampled, gamma, beta)."""
  pattern = r"cons/sample(\d)_gamma([\d.]+?)_gamma2([\d.]+)/loss"
  found = [m for m in (re.fullmatch(pattern, n) for n in arrays) if m]
  assert found
  for match in found:
    prefix = match[0].removesuffix("loss")
    recorded = {
      name.removeprefix(prefix): value
      for name, value in arrays.items()
      if name.startswith(prefix)
    }
    yield recorded, match[1] == "1", float(match[2]), float(match[3])


def _consistency_loss(arrays, uniform, rate, gamma):
  """The loss and its gradient with [H, W] uniform numbers for each class."""
  student = golden.channels_last(arrays["cons/student_logits"])
  predicted = np.argmax(student, axis=-1)

  def compute(student):
    weights = consistency.pixel_weights(
      student,
      arrays["cons/teacher_conf"],
      jnp.take_along_axis(uniform, predicted, axis=0),
      rate,
      gamma=gamma,
    )
    return consistency.compute_loss(
      student, arrays["cons/target"], weights, by="batch", with_ignored=True
    )

  return jax.value_and_grad(compute)(student)


@golden.every_file("ael")
def test_consistency(path):
  arrays = golden.load(path)
  for recorded, is_sampled, gamma, beta in _consistency_cases(arrays):
    rate = confidence.keep_rate(arrays["cons/class_confidence"], beta)
    if is_sampled:
      expected = recorded["keep_probability_by_predicted_class"]
      np.testing.assert_allclose(rate, expected, rtol=1e-5)
    uniform = arrays["cons/rand_maps"]
    used = rate if is_sampled else np.ones_like(rate)
    loss, gradient = _consistency_loss(arrays, uniform, used, gamma)
    assert loss == pytest.approx(recorded["loss"], rel=1e-5)
    norm = np.linalg.norm(np.asarray(gradient, "f8"))
    assert norm == pytest.approx(recorded["grad_l2"], rel=1e-5)
    moved = np.count_nonzero(np.any(gradient != 0, axis=-1))
    assert moved == recorded["pixels_with_grad"]


@golden.every_file("ael")
def test_mean_consistency_over_many_draws(path):
  arrays = golden.load(path)
  for recorded, is_sampled, gamma, beta in _consistency_cases(arrays):
    if is_sampled:
      rate = confidence.keep_rate(arrays["cons/class_confidence"], beta)
      losses = _draw_losses(
        *(arrays[f"cons/{name}"] for name in _CONSISTENCY_INPUTS),
        np.asarray(rate),
        gamma,
      )
      error = recorded["loss_sem_400_seeds"] * np.sqrt(2)
      expected = recorded["loss_mean_400_seeds"]
      assert abs(losses.mean() - expected) <= 4 * error
      spread = recorded["loss_std_400_seeds"]
      # The standard error of a standard deviation.
      assert abs(losses.std() - spread) <= 4 * spread / np.sqrt(_SEEDS)


_CONSISTENCY_INPUTS = ("student_logits", "teacher_conf", "target")


@golden.once_per_input
def _draw_losses(student_logits, teacher_conf, target, rate, gamma):
  """[seeds] float, the losses with draws of our own."""
  arrays = {
    "cons/student_logits": student_logits,
    "cons/teacher_conf": teacher_conf,
    "cons/target": target,
  }
  shape = student_logits.shape[1:]

  @jax.jit
  def compute(key):
    uniform = jax.random.uniform(key, shape)
    return _consistency_loss(arrays, uniform, rate, gamma)[0]

  keys = jax.random.split(jax.random.key(5), _SEEDS)
  return np.asarray(jax.lax.map(compute, keys), "f8")


@golden.every_file("ael")
def test_draws_from_the_bank(path):
  arrays = golden.load(path)
  for smooth, power in ((0, 1.0), (1, 1 / 3)):
    expected = arrays[f"bank/probability_smooth{smooth}"]
    actual = confidence.class_probability(
      arrays["bank/class_confidence"], power=power
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    shares = arrays[f"bank/frequency_4000_smooth{smooth}"]
    error = np.sqrt(np.maximum(expected * (1 - expected), 0) / 4000)
    assert np.all(abs(shares - expected) <= 4 * error)
  content = arrays["bank/content"] > 0
  classes, images = presence.draw(
    jax.random.key(2), arrays["bank/class_confidence"], content, 4000
  )
  assert arrays["bank/all_samples_contain_class_smooth0"]
  is_empty = ~content.any(axis=1)[classes]
  assert np.all(content[classes, images] | is_empty)
  low, high = arrays["bank/empty_class_sample_range_smooth0"]
  assert (images[is_empty].min(), images[is_empty].max()) == (low, high)


@golden.every_file("ael")
def test_bits_of_the_bank(path):
  arrays = golden.load(path)
  names = [n for n in arrays if re.fullmatch("update_bank/thresh.*/before", n)]
  assert names
  labels = arrays["update_bank/pred_labels"].astype(np.int32)
  for name in names:
    share = float(name.split("/")[1].removeprefix("thresh"))
    before = jnp.asarray(arrays[name] > 0)
    shown = presence.shown_classes(labels, len(before), share)
    after = presence.write(
      before, arrays["update_bank/img_id_sample_id"], shown
    )
    expected = arrays[name.replace("before", "after")]
    np.testing.assert_array_equal(after, expected)


@golden.every_file("ael")
def test_copy_paste(path):
  arrays = golden.load(path)
  images, labels = (
    arrays["copy_paste/image_in_6ch"],
    arrays["copy_paste/label_in_2H"],
  )
  own, partner = (golden.channels_last(images[:, i : i + 3]) for i in (0, 3))
  height = images.shape[2]
  queries = [n for n in arrays if re.fullmatch(r"copy_paste/query\d+", n)]
  assert queries
  for name in queries:
    chosen = np.zeros((len(labels), 256), bool)
    chosen[:, arrays[name]] = True
    image, label, _ = copy_paste.paste(
      own, labels[:, :height], partner, labels[:, height:], chosen
    )
    number = name.removeprefix("copy_paste/query")
    expected = golden.channels_last(arrays[f"copy_paste/image_out{number}"])
    np.testing.assert_array_equal(image, expected)
    expected = arrays[f"copy_paste/label_out{number}"]
    np.testing.assert_array_equal(label, expected)


def _describe(drawn, size):
  """Area, height and width of boxes, in units of the image."""
  top, left, bottom, right = np.asarray(drawn, "f8").T
  height, width = (bottom - top) / size, (right - left) / size
  return {
    "area_fraction": height * width,
    "height_over_size": height,
    "width_over_size": width,
  }


@golden.every_file("ael")
def test_random_boxes(path):
  arrays = golden.load(path)
  names = [n for n in arrays if n.startswith("init_cutmix/")]
  assert names
  uniform = jax.random.uniform(jax.random.key(4), (_BOX_DRAWS, 3))
  for name in names:
    _, size, what = name.split("/")
    size = int(size.removeprefix("size"))
    draw = functools.partial(boxes.random_box, size=(size, size))
    drawn = jax.vmap(draw)(uniform)
    expected = dict(zip(_COLUMNS, arrays[name], strict=True))
    chance.assert_same_distribution(
      _describe(drawn, size)[what], expected, _RECORDED_BOXES
    )


@golden.once_per_input
def _draw_boxes(labels, class_id, share):
  choose = functools.partial(boxes.choose_box, min_share=float(share))
  choose = jax.jit(jax.vmap(choose, in_axes=(0, None, None)))
  keys = jax.random.split(jax.random.key(6), _BOX_DRAWS)
  return np.asarray(choose(keys, labels, class_id))


@golden.every_file("ael")
def test_boxes_around_components(path):
  arrays = golden.load(path)
  labels = arrays["generate_cutmix/pred"].astype(np.int32)
  pattern = r"generate_cutmix/cat(\d+)_thresh([\d.]+)/n_distinct"
  found = [m for m in (re.fullmatch(pattern, n) for n in arrays) if m]
  assert found
  for match in found:
    prefix = match[0].removesuffix("n_distinct")
    drawn = _draw_boxes(labels, int(match[1]), float(match[2]))
    rectangles = arrays[f"{prefix}top_rectangles_y0x0y1x1"]
    shares = arrays[f"{prefix}top_frequency"]
    area = _describe(drawn, len(labels))["area_fraction"]
    recorded = dict(zip(_COLUMNS, arrays[f"{prefix}area_fraction"]))
    if arrays[match[0]] != len(rectangles):  # Random boxes.
      chance.assert_same_distribution(area, recorded, _RECORDED_BOXES)
      continue
    ours = np.all(drawn[:, None] == rectangles[None], axis=-1).mean(0)
    np.testing.assert_allclose(ours.sum(), 1)
    for actual, expected in zip(ours, shares, strict=True):
      chance.assert_same_share(actual, expected, _BOX_DRAWS, _RECORDED_BOXES)
    # No quantiles: there are few different areas.
    values = {name: recorded[name] for name in ("mean", "min", "max")}
    if np.ptp(area) == 0:
      assert list(values.values()) == pytest.approx([area[0]] * 3)
    else:
      chance.assert_same_distribution(area, values, _RECORDED_BOXES)
