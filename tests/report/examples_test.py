"""One pass over a dataset, against what it means image by image.

The network is replaced by functions of a pixel, so that any cut or shift of an
image would show.
"""

import dataclasses

import numpy as np
import pytest

from tests import tiny_network, toy_dataset, voc_tree
from tests.report import reported
from u2pl_jax.data import eval_pipeline
from u2pl_jax.evaluation import metrics, outputs, protocol
from u2pl_jax.report import examples, thresholds

NUM_CLASSES = len(voc_tree.CLASS_NAMES)
IDS = [f"val_{index}" for index in range(7)]
WHOLE = protocol.Protocol("whole", (24, 24))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return toy_dataset.make(tmp_path_factory.mktemp("toy"))


@pytest.fixture(autouse=True)
def pixelwise(monkeypatch):
  monkeypatch.setattr(
    outputs,
    "make_predict",
    lambda model, protocol, names: (
      lambda shift, images: dict(zip(names, predict(images, shift)))
    ),
  )


def predict(images, shift):
  labels = ((images[..., 0] + shift) % NUM_CLASSES).astype(np.uint8)
  return labels, images[..., 1].astype(np.float32) / 256


def make_network(shift=0):
  return dataclasses.replace(
    tiny_network.make_trained(),
    variables=shift,
    class_names=voc_tree.CLASS_NAMES,
  )


def evaluate(dataset, *shifts, protocol=WHOLE, max_images=500):
  return examples.evaluate(
    [make_network(shift) for shift in shifts],
    dataset,
    protocol,
    batch_size=3,
    max_images=max_images,
  )


def count_pixels(image, label, shift):
  """The confusion matrix of an image, pixel by pixel."""
  confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
  for truth, guess in zip(label.flat, predict(image, shift)[0].flat):
    if truth != 255:
      confusion[truth, guess] += 1
  return confusion


def crop(pixels):
  top, left = (max(length - 24, 0) // 2 for length in pixels.shape[:2])
  return pixels[top : top + 24, left : left + 24]


@pytest.mark.parametrize(
  ("kind", "cut"), [("whole", lambda pixels: pixels), ("crop", crop)]
)
def test_every_image_counts_once_as_the_protocol_sees_it(dataset, kind, cut):
  found = evaluate(dataset, 0, 1, protocol=protocol.Protocol(kind, (24, 24)))
  assert (found.protocol, found.num_images) == (kind, 7)
  by_name = {example.name: example for example in found.worst}
  assert sorted(by_name) == IDS
  totals = np.zeros((2, NUM_CLASSES, NUM_CLASSES), np.int64)
  pixels = 0
  for record, name in enumerate(IDS):
    image, label = cut(voc_tree.draw_image(name)), cut(voc_tree.draw_mask(name))
    example = by_name[name]
    assert example.record == record
    np.testing.assert_array_equal(example.image, image)
    np.testing.assert_array_equal(example.label, label)
    pixels += label.size
    for shift, view in enumerate(example.views):
      labels, entropy = predict(image, shift)
      np.testing.assert_array_equal(view.prediction, labels)
      np.testing.assert_array_equal(view.entropy, entropy.astype(np.float16))
      confusion = count_pixels(image, label, shift)
      assert view.scores.miou == metrics.compute_scores(confusion).miou
      totals[shift] += confusion
  np.testing.assert_array_equal(found.confusions, totals)
  assert [counts.sum() for counts in found.entropies] == [pixels] * 2


def test_the_worst_images_of_the_first_network_come_first(dataset):
  whole = evaluate(dataset, 0, 1).worst
  mious = [example.views[0].scores.miou for example in whole]
  assert mious == sorted(mious) and len(set(mious)) == 7
  some = evaluate(dataset, 0, 1, max_images=3)
  assert [e.name for e in some.worst] == [e.name for e in whole[:3]]
  assert some.num_images == 7
  np.testing.assert_array_equal(
    some.confusions, evaluate(dataset, 0, 1).confusions
  )


def test_no_image_may_be_kept(dataset):
  found = evaluate(dataset, 0, max_images=0)
  assert found.worst == () and found.confusions[0].sum() > 0


def test_some_images_are_shown_as_among_all_and_the_rest_not_decoded(
  dataset, monkeypatch
):
  expected = {e.record: e for e in evaluate(dataset, 0, 1).worst}
  make, decoded = eval_pipeline.make_eval_batches, []

  def make_counted(*arguments, **options):
    for batch in make(*arguments, **options):
      decoded.extend(batch["record"].tolist())
      yield batch

  monkeypatch.setattr(eval_pipeline, "make_eval_batches", make_counted)
  found = examples.show(
    [make_network(shift) for shift in (0, 1)],
    dataset,
    WHOLE,
    [5, 2],
    batch_size=1,
  )
  assert sorted(found) == sorted(decoded) == [2, 5]
  for record, example in found.items():
    np.testing.assert_equal(
      dataclasses.asdict(example), dataclasses.asdict(expected[record])
    )


def test_entropies_give_the_percentile_of_all_pixels(dataset):
  found = evaluate(dataset, 0)
  pixels = [voc_tree.draw_image(name)[..., 1].ravel() for name in IDS]
  expected = np.percentile(np.concatenate(pixels) / 256, 80)
  network = make_network()
  run = reported.make_run(network=network)
  chosen = thresholds.choose_threshold(run, found.entropies[0])
  assert chosen.value == pytest.approx(expected, abs=1 / 200)


@pytest.mark.parametrize(
  ("size", "side", "expected"),
  [
    ((30, 40), 20, (15, 20)),
    ((40, 30), 20, (20, 15)),
    ((30, 40), 40, (30, 40)),
    ((3, 400), 100, (1, 100)),
  ],
)
def test_shrinking_keeps_the_ratio(size, side, expected):
  example = examples.shrink(reported.make_example(size=size), side)
  view = example.views[0]
  for pixels in (example.label, view.prediction, view.entropy):
    assert pixels.shape == expected
  assert example.image.shape == (*expected, 3)


def test_shrinking_takes_the_middle_of_each_block_and_averages_the_image():
  example = reported.make_example(size=(30, 60))
  small = examples.shrink(example, 20)
  np.testing.assert_array_equal(small.label, example.label[1::3, 1::3])
  np.testing.assert_array_equal(
    small.views[0].entropy, example.views[0].entropy[1::3, 1::3]
  )
  blocks = example.image.reshape(10, 3, 20, 3, 3).mean((1, 3))
  np.testing.assert_allclose(small.image, blocks, atol=0.51)
  assert small.views[0].scores is example.views[0].scores
