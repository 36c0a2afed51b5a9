"""Ranks and classes of pixels, anchors and keys of both variants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods.u2pl import selection

# The two variants' rules for keys.
RULES = {
  "paper": {
    "max_prob": 2.0,
    "labeled_negatives": True,
    "own_pseudo_label": False,
  },
  "reference": {
    "max_prob": 1.0,
    "labeled_negatives": False,
    "own_pseudo_label": True,
  },
}

_ranks = jax.jit(selection.class_ranks)
_membership = jax.jit(
  selection.class_membership, static_argnames=("num_classes", "stack")
)
_anchors = jax.jit(selection.anchor_mask)
_negatives = jax.jit(
  selection.negative_mask,
  static_argnames=("labeled_negatives", "own_pseudo_label", "use_ranks"),
)


def _one_hot(labels, num_classes):
  """[P] to [P, K] bool; 255 is no class."""
  return np.equal(np.asarray(labels)[:, None], np.arange(num_classes))


def _rows(*rows):
  """A bool array from rows of zeros and ones."""
  return np.array([[int(c) for c in row] for row in rows], bool)


def _random_pixels(seed, num_classes=6, count=400):
  """Probabilities (with ties), labels, is_labeled, unreliable."""
  rng = np.random.default_rng(seed)
  # Few levels, so that classes tie.
  levels = rng.integers(1, 6, (count, num_classes)).astype(np.float32)
  probs = levels / levels.sum(axis=1, keepdims=True)
  probs[:20] = np.eye(num_classes)[rng.integers(0, num_classes, 20)]
  labels = rng.integers(0, num_classes, count).astype(np.int32)
  labels[rng.random(count) < 0.15] = 255
  is_labeled = np.arange(count) < count // 2
  unreliable = (rng.random(count) < 0.4) & (labels != 255)
  return probs, labels, is_labeled, unreliable


def _numpy_negatives(
  probs, labels, is_labeled, unreliable, low_rank, high_rank, variant
):
  """Pixel by pixel from the table of the two variants."""
  keys = np.zeros(probs.shape, bool)
  for pixel, prob in enumerate(probs):
    order = sorted(range(len(prob)), key=lambda c: (-prob[c], c))
    for rank, c in enumerate(order):
      if is_labeled[pixel]:
        other = labels[pixel] not in (c, 255)
        keys[pixel, c] = variant == "paper" and other and rank < low_rank
      elif unreliable[pixel] and low_rank <= rank < high_rank:
        keys[pixel, c] = variant == "paper" or (
          labels[pixel] == c and prob[c] < 1
        )
  return keys


class TestClassRanks:
  def test_worked_by_hand(self):
    probs = jnp.asarray([[0.1, 0.6, 0.3], [0.7, 0.1, 0.2]])
    np.testing.assert_array_equal(_ranks(probs), [[2, 0, 1], [0, 2, 1]])

  def test_of_ties_the_lower_class_comes_first(self):
    probs = jnp.asarray([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]])
    np.testing.assert_array_equal(_ranks(probs), [[0, 1, 2, 3], [2, 0, 3, 1]])

  @pytest.mark.parametrize("num_classes", [1, 2, 21])
  def test_equal_a_stable_descending_sort(self, num_classes):
    probs = _random_pixels(0, num_classes)[0]
    order = np.argsort(-probs, axis=1, kind="stable")
    expected = np.argsort(order, axis=1, kind="stable")
    np.testing.assert_array_equal(_ranks(probs), expected)


def _numpy_membership(labels, num_classes, stack):
  """The published `label_onehot` on groups of images, entry by entry."""
  groups = []
  for group in labels.reshape(-1, stack, *labels.shape[1:]):
    outputs = np.zeros((num_classes, *group.shape), bool)
    index = np.where(group == 255, 0, group)[:, None]  # [B, 1, h, w]
    # torch: out.scatter_(0, index, 1) sets out[index[i, j, y, x], j, y, x].
    for i, j, y, x in np.ndindex(index.shape):
      outputs[index[i, j, y, x], j, y, x] = True
    outputs[:, group == 255] = False
    groups.append(np.moveaxis(outputs, 0, -1))
  return np.concatenate(groups)


class TestClassMembership:
  def test_without_stacking_each_pixel_is_of_its_labels_class_alone(self):
    labels = np.int32([[[0, 2, 255, 2]], [[1, 255, 255, 0]]])
    is_class = _membership(labels, num_classes=3, stack=1)
    rows = "100", "001", "000", "001", "010", "000", "000", "100"
    np.testing.assert_array_equal(is_class, _rows(*rows).reshape(2, 1, 4, 3))

  def test_stacked_worked_by_hand(self):
    # At the pixels: two classes, one class, first ignored, second ignored.
    labels = np.int32([[[0, 2, 255, 2]], [[1, 2, 1, 255]]])
    is_class = _membership(labels, num_classes=3, stack=2)
    first = _rows("110", "001", "000", "101")
    np.testing.assert_array_equal(is_class[0, 0], first)
    assert not np.any(is_class[1])

  @pytest.mark.parametrize("stack", [1, 2, 4, 8])
  @pytest.mark.parametrize("dtype", [np.int32, np.uint8])
  def test_equals_a_scatter_along_the_wrong_axis(self, stack, dtype):
    rng = np.random.default_rng(stack)
    labels = rng.integers(0, 5, (8, 6, 7)).astype(dtype)
    labels[rng.random(labels.shape) < 0.2] = 255
    np.testing.assert_array_equal(
      _membership(labels, num_classes=5, stack=stack),
      _numpy_membership(labels, 5, stack),
    )


class TestAnchors:
  def test_worked_by_hand(self):
    probs = jnp.asarray(
      [[0.8, 0.2], [0.3, 0.7], [0.31, 0.69], [0.9, 0.1], [0.9, 0.1]]
    )
    labels = jnp.asarray([0, 0, 0, 255, 0])
    reliable = jnp.asarray([True, True, True, True, False])
    is_class = _one_hot(labels, 2)
    mask = _anchors(probs, is_class, reliable, min_prob=jnp.float32(0.3))
    # The second is not above delta_p, the fourth has no label.
    expected = np.zeros((5, 2), bool)
    expected[[0, 2], 0] = True
    np.testing.assert_array_equal(mask, expected)

  def test_a_pixel_of_several_classes_is_an_anchor_of_each_likely_one(self):
    probs = np.float32([[0.4, 0.35, 0.2, 0.05]] * 3)
    is_class = _rows("1101", "0011", "1100")
    reliable = np.array([True, True, False])
    mask = _anchors(probs, is_class, reliable, min_prob=jnp.float32(0.3))
    np.testing.assert_array_equal(mask, _rows("1100", "0000", "0000"))


class TestNegatives:
  # Ranks, top first: 0 1 2 3 in each row; three labeled, then unlabeled.
  probs = np.float32([[0.4, 0.3, 0.2, 0.1]] * 6)
  labels = np.int32([0, 3, 255, 1, 2, 0])
  is_labeled = np.array([1, 1, 1, 0, 0, 0], bool)
  unreliable = np.array([0, 1, 1, 1, 1, 0], bool)

  @pytest.mark.parametrize(
    "variant, expected",
    [
      # Labeled: ranks 0 and 1 unless it is the own class. Unlabeled: rank 2.
      (
        "paper",
        ["0100", "1100", "0000", "0010", "0010", "0000"],
      ),
      # Only the pixel whose pseudo-label 2 has rank 2.
      (
        "reference",
        ["0000", "0000", "0000", "0000", "0010", "0000"],
      ),
    ],
  )
  def test_worked_by_hand(self, variant, expected):
    keys = _negatives(
      self.probs,
      _one_hot(self.labels, 4),
      self.is_labeled,
      self.unreliable,
      low_rank=2,
      high_rank=3,
      **RULES[variant],
    )
    np.testing.assert_array_equal(keys, _rows(*expected))

  @pytest.mark.parametrize(
    "variant, expected",
    [
      # Labeled: ranks 0 and 1 unless of that class. Unlabeled: rank 2 or 3.
      ("paper", ["0100", "0000", "0011", "0011"]),
      ("reference", ["0000", "0000", "0011", "0000"]),
    ],
  )
  def test_of_pixels_of_several_classes(self, variant, expected):
    keys = _negatives(
      self.probs[:4],
      _rows("1010", "1100", "0111", "1100"),
      self.is_labeled[1:5],
      np.ones(4, bool),
      low_rank=2,
      high_rank=20,
      **RULES[variant],
    )
    np.testing.assert_array_equal(keys, _rows(*expected))

  @pytest.mark.parametrize("variant", RULES)
  @pytest.mark.parametrize("low_rank, high_rank", [(1, 3), (3, 20), (0, 1)])
  @pytest.mark.parametrize("seed", [0, 1])
  def test_equal_numpy(self, variant, low_rank, high_rank, seed):
    probs, labels, *masks = _random_pixels(seed)
    keys = _negatives(
      probs,
      _one_hot(labels, probs.shape[1]),
      *masks,
      low_rank=low_rank,
      high_rank=high_rank,
      **RULES[variant],
    )
    expected = _numpy_negatives(
      probs, labels, *masks, low_rank, high_rank, variant
    )
    assert expected.any()
    np.testing.assert_array_equal(keys, expected)

  @pytest.mark.parametrize("max_prob, count", [(2.0, 2), (1.0, 1), (0.4, 0)])
  def test_stay_below_the_largest_probability_allowed(self, max_prob, count):
    probs = np.float32([[1.0, 0.0], [0.4, 0.6]])
    keys = _negatives(
      probs,
      np.eye(2, dtype=bool),
      np.zeros(2, bool),
      np.ones(2, bool),
      low_rank=0,
      high_rank=2,
      max_prob=max_prob,
      labeled_negatives=False,
      own_pseudo_label=False,
    )
    assert np.sum(keys[:, 0]) == count

  def test_without_ranks_are_keys_of_every_class_but_their_own_label(self):
    # A labeled pixel of class 1, one without a label, an unlabeled one that is
    # offered, and one that is not.
    probs = np.float32([[0.2, 0.5, 0.3]] * 4)
    keys = _negatives(
      probs,
      _one_hot([1, 255, 1, 1], 3),
      np.array([True, True, False, False]),
      np.array([False, False, True, False]),
      low_rank=1,
      high_rank=2,
      use_ranks=False,
      **RULES["paper"],
    )
    np.testing.assert_array_equal(keys, _rows("101", "000", "111", "000"))

  def test_published_rules_give_none_where_pseudo_label_is_the_top_class(self):
    probs, _, is_labeled, unreliable = _random_pixels(2)
    keys = _negatives(
      probs,
      _one_hot(probs.argmax(axis=1), probs.shape[1]),
      is_labeled,
      unreliable,
      low_rank=3,
      high_rank=20,
      **RULES["reference"],
    )
    assert not np.any(keys)


@pytest.mark.parametrize(
  "which, expected",
  [("unreliable", "0100"), ("reliable", "1000"), ("all", "1100")],
)
def test_negatives_are_taken_from_the_pixels_that_are_asked_for(
  which, expected
):
  reliable, unreliable = _rows("1000", "0100")
  np.testing.assert_array_equal(
    selection.offering(reliable, unreliable, which), _rows(expected)[0]
  )
