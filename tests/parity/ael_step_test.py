"""Whole steps of the branch with_AEL, with recorded outputs of the networks."""

import functools
import json
import types

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import held_keys
from tests.parity import ael_replay, contrast_replay, golden, tiny_net
from u2pl_jax.methods.u2pl import contrast
from u2pl_jax.methods.u2pl_ael import boxes, confidence, copy_paste, partition
from u2pl_jax.ops import boxes as box_ops
from u2pl_jax.ops import components, percentile, resize

pytestmark = golden.SLOW

_OUTPUTS = {"pred": "logits", "rep": "rep", "aux": "aux"}
_SCALES = {"pred": "logit_scale", "rep": "rep_scale", "aux": "logit_scale"}


def _script(config):
  """A network that returns its parameters, pass after pass.

  Of a step, the teacher makes two passes in train mode, and then the student.
  """
  count = {"train": 0}

  def apply(variables, images, *, train, dropout, **_):
    del images, dropout
    if not train:
      return variables["params"]["pair"]
    index = count["train"] % 2
    count["train"] += 1
    return variables["params"]["passes"][index], {}

  return types.SimpleNamespace(
    apply=apply,
    num_classes=config["K"],
    rep_channels=config["D"],
    multiple=1,
    normalize=lambda images: images,
    init_variables=lambda key: {"params": {}, "batch_stats": {}},
    variable_shapes=lambda: {"params": {}, "batch_stats": {}},
  )


def _outputs(config, step, who, side):
  """The recorded outputs of a pass, by the names they have here."""
  recorded = {
    ours: step[f"{who}_{name}_{side}_q"] / np.float32(config[_SCALES[name]])
    for name, ours in _OUTPUTS.items()
    if f"{who}_{name}_{side}_q" in step
  }
  return {n: golden.channels_last(np.float32(x)) for n, x in recorded.items()}


def _inputs(config, arrays, step):
  """Variables of teacher and student, and the batch."""
  teacher = {
    "pair": {"logits": _outputs(config, step, "teacher", "pair")["logits"]},
    "passes": [
      {"logits": jnp.zeros(()), **_outputs(config, step, "teacher", side)}
      for side in "lu"
    ],
  }
  student = [_outputs(config, step, "student", side) for side in "lu"]
  scale = config["image_scale"]
  pool = ael_replay.read(arrays["pool_image_q"], scale)
  first, second = (
    np.array([step[name]], np.int32) for name in ("image_id", "partner_id")
  )
  batch = {
    "image_l": ael_replay.read(step["labeled_image_q"], scale),
    "label_l": step["label"],
    "image_p": ael_replay.read(step["paste_image_q"], scale),
    "label_p": step["paste_label"],
    "image_u": pool[first],
    "image_u2": pool[second],
    "position_u": first,
    "position_u2": second,
    "class_u2": np.array([step["cutmix_class"]], np.int32),
  }
  draws = ("copy_paste_classes_drawn", "box_y0x0y1x1", "uniform_q")
  return teacher, student, batch, {name: step[name] for name in draws}


@flax.struct.dataclass
class _Result:
  """Of a step; `loss` and its parts, gradients of all and of one of them."""

  memory: object
  lesson: object
  losses: dict
  gradient: list
  contrastive: dict
  metrics: dict


def _max_keys(config):
  images = config["labeled_per_step"] + config["mixed_per_step"]
  return images * int(np.prod(config["small"]))


@functools.cache
def _compiled(config_json, phase_index):
  config = json.loads(config_json)
  start = config["contrast_start_epoch"]
  pixels = _max_keys(config)

  @jax.jit
  def run(memory, teacher, student, batch, draws, step):
    phases = ael_replay.phases_of(config, _script(config), start, pixels, draws)
    method = phases[phase_index].method
    if memory is None:
      memory = method.init(jax.random.key(0), {"params": {}, "batch_stats": {}})
    memory = memory.replace(teacher={"params": teacher, "batch_stats": {}})
    keys = {n: jax.random.key(1) for n in ("augment", "teacher", "draw")}
    lesson, memory, metrics = method.teach(memory, None, batch, keys, step)

    def compute(student):
      outputs = jax.lax.stop_gradient(tuple(student))
      seen, after, found = method.observe(memory, outputs, lesson)
      losses = method.losses(tuple(student), seen)
      return sum(losses.values()), (losses, seen, after, found)

    (_, (losses, lesson, memory, found)), gradient = jax.value_and_grad(
      compute, has_aux=True
    )(student)
    contrastive = {}
    if lesson.targets.plan is not None:
      contrastive = _contrastive(config, student, lesson.targets.plan)
    return _Result(
      memory, lesson, losses, gradient, contrastive, metrics | found
    )

  return run


def _contrastive(config, student, plan):
  """The unweighted loss and its gradient by either pairing."""
  options = ael_replay.options_of(
    ael_replay.settings_of(config, 0, 1) | {"contrast.weight": 1.0}
  )[1]
  partner, original = contrast_replay.pair_by_position(plan)
  loss = jax.value_and_grad(contrast.compute_loss)
  rep = jnp.concatenate([each["rep"] for each in student])
  return {
    "corrected": loss(rep, plan, options),
    "original": loss(rep, original, options),
    "pairs": (original.contributes, partner),
  }


@golden.once_per_input
def _replay(names, *values):
  arrays = dict(zip(names.tolist(), values, strict=True))
  config, memory, results = ael_replay.read_config(arrays), None, []
  for step in tiny_net.cases(arrays, "step"):
    epoch = int(step["epoch"])
    index = int(epoch >= config["contrast_start_epoch"])
    phases = ael_replay.phases_of(
      config,
      _script(config),
      config["contrast_start_epoch"],
      _max_keys(config),
      {},
    )
    if memory is None:
      memory = phases[index].method.init(
        jax.random.key(0), {"params": {}, "batch_stats": {}}
      )
      memory = memory.replace(
        confidence=jnp.asarray(arrays["conf_initial"]),
        present=jnp.asarray(arrays["present_initial"] > 0),
      )
    if index and memory.bank is None:
      memory = phases[index].method.start(memory, None)
    run = _compiled(str(arrays["config_json"]), index)
    with jax.default_matmul_precision("highest"):
      result = run(
        memory,
        *_inputs(config, arrays, step),
        epoch * config["steps_per_epoch"],
      )
    results.append(jax.device_get(result))
    memory = result.memory
  return results


def _steps(path):
  """(config, recorded arrays, recorded step, our result) of each step."""
  arrays = golden.load(path)
  config = ael_replay.read_config(arrays)
  steps = tiny_net.cases(arrays, "step")
  assert steps
  inputs = {
    name: array
    for name, array in arrays.items()
    if name in ("config_json", "pool_image_q", "conf_initial")
    or name == "present_initial"
    or name.split("/")[-1] in _INPUTS
  }
  results = _replay(np.array(list(inputs)), *inputs.values())
  for step, result in zip(steps, results, strict=True):
    yield config, arrays, step, result


_INPUTS = {
  "epoch", "labeled_image_q", "label", "paste_image_q", "paste_label",
  "image_id", "partner_id", "cutmix_class", "copy_paste_classes_drawn",
  "box_y0x0y1x1", "uniform_q", "teacher_pred_l_q", "teacher_rep_l_q",
  "teacher_pred_pair_q", "teacher_rep_u_q",
} | {
  f"student_{name}_{side}_q" for name in _OUTPUTS for side in "lu"
}  # fmt: skip


def _bits(recorded, shape):
  return golden.unpack_mask(recorded, shape)


@golden.every_file("ael_step")
def test_copy_paste(path):
  for config, _, step, result in _steps(path):
    images = golden.channels_last(step["mixed_labeled_image_q"])
    ours = result.lesson.views[0].images * config["image_scale"]
    np.testing.assert_array_equal(ours, images)
    ours = result.lesson.targets.labels
    np.testing.assert_array_equal(ours, step["mixed_label"])


@golden.every_file("ael_step")
def test_probabilities_of_the_classes(path):
  for config, arrays, step, _ in _steps(path):
    names = [str(c) for c in range(config["K"])]
    allowed = copy_paste.find_allowed(ael_replay.excluded_of(config), names)
    classes = arrays["copy_paste_class_list"]
    np.testing.assert_array_equal(np.flatnonzero(allowed), classes)
    before = step["conf_before"]
    actual = confidence.class_probability(
      before, power=0.5, is_allowed=allowed
    )[classes]
    expected = step["copy_paste_class_probability"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    actual = confidence.class_probability(before)
    expected = step["cutmix_class_probability"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@golden.every_file("ael_step")
def test_presence_and_confidence(path):
  before = None
  for _, arrays, step, result in _steps(path):
    if before is None:
      before = arrays["present_initial"], arrays["conf_initial"]
    np.testing.assert_array_equal(before[0], step["present_before"])
    np.testing.assert_allclose(before[1], step["conf_before"], atol=1e-6)
    before = result.memory.present, result.memory.confidence
    np.testing.assert_array_equal(before[0], step["present_after"])
    np.testing.assert_allclose(before[1], step["conf_after"], atol=1e-6)


@golden.every_file("ael_step")
def test_keep_rates(path):
  for index, (config, arrays, step, _) in enumerate(_steps(path)):
    actual = confidence.keep_rate(step["conf_after"], config["gamma2"])
    expected = arrays[f"sampling_rate_step{index}"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def _full_size(config, step):
  """The teacher's logits at full size: labeled, first and second images."""
  labeled, pair = (
    resize.resize_bilinear(
      _outputs(config, step, "teacher", side)["logits"], config["hw"]
    )
    for side in ("l", "pair")
  )
  return labeled, pair


def _mixed_logits(config, step):
  _, pair = _full_size(config, step)
  inside = box_ops.inside(step["box_y0x0y1x1"][None], config["hw"])
  return box_ops.paste(inside, pair[:1], pair[1:])


@golden.every_file("ael_step")
def test_boxes(path):
  """The recorded box is one that could be drawn here."""
  for config, _, step, _ in _steps(path):
    labels = np.argmax(_full_size(config, step)[1][1], axis=-1)
    found, is_large = boxes.large_components(
      labels, step["cutmix_class"], config["component_area"]
    )
    assert step["box_is_random"] == (not is_large.any())
    around = [
      components.bounding_box(found == first)
      for first in np.flatnonzero(is_large)
    ]
    top, left, bottom, right = box = step["box_y0x0y1x1"]
    if around:
      assert box.tolist() in np.array(around).tolist()
    else:
      area = (bottom - top) * (right - left) / labels.size
      assert area == pytest.approx(0.5, abs=0.02)


@golden.every_file("ael_step")
def test_entropy_and_thresholds(path):
  for config, _, step, result in _steps(path):
    entropy = percentile.compute_entropy(_mixed_logits(config, step))
    expected = step["entropy_mixed"]
    np.testing.assert_allclose(entropy[0], expected, rtol=0, atol=1e-5)
    names = {"drop_percent": "unreliable_percent", "drop_threshold": None}
    if "low_threshold" in step:
      names |= {"low_threshold": "reliable_threshold"}
      names |= {"high_threshold": "unreliable_threshold"}
    for name, ours in names.items():
      actual = result.metrics[f"semi/{ours or name}"]
      np.testing.assert_allclose(actual, step[name], rtol=0, atol=1e-5)


@golden.every_file("ael_step")
def test_pseudo_labels(path):
  for _, _, step, result in _steps(path):
    targets = result.lesson.targets
    near_tie = _bits(step["near_tie_u"], targets.mixed.labels[0].shape)
    for ours, expected, ignored in (
      (targets.labeled.labels, step["pseudo_label_l"], False),
      (targets.mixed.labels[0], step["pseudo_label_u"], near_tie),
    ):
      assert np.sum((ours != expected) & ~np.asarray(ignored)) <= 2


@golden.every_file("ael_step")
def test_kept_pixels_and_sums_of_weights(path):
  for _, _, step, result in _steps(path):
    targets = result.lesson.targets
    for side, name in ((targets.labeled, "l"), (targets.mixed, "u")):
      kept = _bits(step[f"keep_{name}"], side.weights.shape)
      assert np.sum((side.weights > 0) != kept) <= 3
      expected = step[f"cons_weight_sum_{name}"]
      assert side.weights.sum() == pytest.approx(expected, rel=1e-4)


@golden.every_file("ael_step")
def test_losses(path):
  for _, _, step, result in _steps(path):
    ours = result.losses
    for name, expected in (
      ("supervised", step["loss_sup"]),
      ("consistency_l", step["loss_cons_l"]),
      ("consistency_u", step["loss_cons_u"]),
    ):
      assert ours[name] == pytest.approx(expected, rel=2e-5), name
    total = ours["consistency_l"] + ours["consistency_u"]
    assert total == pytest.approx(step["loss_cons"], rel=2e-5)
    assert ("contrastive" in ours) == ("loss_contra_corrected" in step)


@golden.every_file("ael_step")
def test_gradients_of_predictions(path):
  for _, _, step, result in _steps(path):
    labeled, mixed = result.gradient
    for name, actual in (
      ("grad_pred_l", labeled["logits"]),
      ("grad_pred_u", mixed["logits"]),
      ("grad_aux_l", labeled["aux"]),
    ):
      expected = golden.channels_last(step[name]).astype("f8")
      error = np.linalg.norm(actual - expected)
      assert error <= 1e-4 * np.linalg.norm(expected), name
    assert not np.any(mixed["aux"])


def _contrastive_steps(path):
  found = [each for each in _steps(path) if "new_keys" in each[2]]
  if not found:
    pytest.skip("a recording without the contrastive loss")
  return found


@golden.every_file("ael_step")
def test_contrastive_loss_and_gradient(path):
  for _, _, step, result in _contrastive_steps(path):
    for pairing in ("corrected", "original"):
      loss, gradient = result.contrastive[pairing]
      expected = step[f"loss_contra_{pairing}"]
      assert loss == pytest.approx(expected, rel=2e-5), pairing
      expected = golden.channels_last(step[f"grad_rep_{pairing}"])
      np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6)


@golden.every_file("ael_step")
def test_classes_that_take_part(path):
  for _, _, step, result in _contrastive_steps(path):
    plan = result.lesson.targets.plan
    present = step["valid_classes"]
    np.testing.assert_array_equal(np.flatnonzero(plan.members > 0), present)
    is_lost = len(present) > 1
    used = np.flatnonzero(plan.contributes & is_lost)
    np.testing.assert_array_equal(used, step["classes_corrected"])
    contributes, partner = result.contrastive["pairs"]
    used = np.flatnonzero(contributes & is_lost)
    pairs = np.stack([used, partner[used]], axis=1)
    np.testing.assert_array_equal(pairs, step["pairs_original"].reshape(-1, 2))


@golden.every_file("ael_step")
def test_keys_and_bank(path):
  before = 0
  for config, _, step, result in _contrastive_steps(path):
    bank = result.memory.bank
    new = (bank.cursor - before) % bank.rows
    np.testing.assert_array_equal(new, step["new_keys"])
    before = bank.cursor
    np.testing.assert_array_equal(bank.count, step["queue_length"])
    held = np.concatenate(held_keys.of_each_class(bank))
    expected = step["queue"] / np.float32(config["rep_scale"])
    np.testing.assert_array_equal(held, expected)


@golden.every_file("ael_step")
def test_pixels_at_feature_size(path):
  """Labels exact, masks within two pixels, probabilities within 1e-5."""
  for config, _, step, result in _contrastive_steps(path):
    small, num_classes = config["small"], config["K"]
    targets, logits = result.lesson.targets, _mixed_logits(config, step)
    split = partition.split(
      percentile.compute_entropy(logits),
      result.metrics["semi/unreliable_percent"],
      20.0,
      dropped="sure",
      thresholds="fixed",
      scope="image",
    )
    pixels = contrast.label_pixels(
      targets.labels,
      targets.mixed.labels,
      split,
      tuple(small),
      num_classes=num_classes,
      label_stacks=(config["label_stack"], 1),
      halves=ael_replay.replay.ONE_BEHIND_THE_OTHER,
    )
    is_class = np.moveaxis(pixels.is_class, -1, 1)
    num_labeled = len(step["label"])
    for name, part in (
      ("label_l_small_multihot", is_class[:num_labeled]),
      ("label_u_small_onehot", is_class[num_labeled:]),
    ):
      np.testing.assert_array_equal(part, _bits(step[name], part.shape))
    for name, mask in (
      ("low_mask_small", pixels.reliable),
      ("high_mask_small", pixels.unreliable | pixels.is_labeled),
    ):
      expected = _bits(step[name], mask.shape)
      # Labeled pixels are no unreliable ones here, and negatives by a rule of
      # their own.
      start = 0 if name.startswith("low") else num_labeled
      assert np.sum(np.asarray(mask)[start:] != expected[start:]) <= 2
    labeled, _ = _full_size(config, step)
    probs = [
      jax.nn.softmax(resize.resize_bilinear(each, small))
      for each in (labeled, logits)
    ]
    expected = golden.channels_last(step["prob_u_small"])
    np.testing.assert_allclose(probs[1], expected, rtol=0, atol=1e-5)
    expected = step["prob_l_small_max"]
    np.testing.assert_allclose(probs[0].max(-1), expected, rtol=0, atol=1e-5)
