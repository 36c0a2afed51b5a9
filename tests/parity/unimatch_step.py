"""One recorded step of UniMatch, replayed with the project's own method.

The network is scripted: it returns the recorded logits.
"""

import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden
from u2pl_jax import methods
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.consistency import targets, views
from u2pl_jax.ops import interleave

# Gives whatever its variables hold; images are normalized already.
SCRIPTED = types.SimpleNamespace(
  multiple=1,
  feature_widths=lambda: (1,),
  normalize=lambda images: images,
  apply=lambda variables, images, **_: {"logits": variables["logits"]},
)


def config_of(arrays):
  return json.loads(str(arrays["config_json"]))


def steps_of(arrays):
  """The arrays of each step by their names within it, at least one step."""
  steps = {}
  for name, array in arrays.items():
    step, _, field = name.partition("/")
    if field and step.removeprefix("step").isdigit():
      steps.setdefault(int(step.removeprefix("step")), {})[field] = array
  assert steps
  return [steps[index] for index in sorted(steps)]


def loss_options(config):
  """Of the recorded criterion."""
  given = config["criterion"]["kwargs"]
  if config["criterion"]["name"] == "OHEM":
    return pixelwise.LossOptions(
      kind="ohem",
      ohem_threshold=given["thresh"],
      ohem_min_kept=given["min_kept"],
    )
  assert config["criterion"]["name"] == "CELoss"
  return pixelwise.LossOptions()


def make_parts(config, model, *, batch_size_l, batch_size_u, total_steps=1):
  return method_lib.Parts(
    model=model,
    supervised_loss=pixelwise.make_supervised_loss(loss_options(config)),
    timeline=timeline_lib.Timeline(total_steps, 1),
    class_names=tuple(map(str, range(config["K"]))),
    num_unlabeled=batch_size_u,
    batch_size_l=batch_size_l,
    batch_size_u=batch_size_u,
    accumulate_steps=1,
  )


def options_of(name, config, **own):
  """The options of a method with what a recording says, and some of its own."""
  module = methods.find(name)
  published = method_lib.Published(1, config.get("labeled", 1))
  chosen = module.recipes(published)["reference"] | {
    "consistency.threshold": config["conf_thresh"],
    **{f"{name}.{key}": value for key, value in own.items()},
  }
  return [
    section.make(
      section.defaults()
      | {
        key.partition(".")[2]: value
        for key, value in chosen.items()
        if key.startswith(f"{section.SECTION}.")
      }
    )
    for section in module.OPTIONS
  ]


def draw_given(batch, keys):
  """The draws that a batch brings with it."""
  del keys
  return batch["draws"]


def images_of(step, name):
  """[B, H, W, 3] float32 of the whole numbers that a file holds, or None."""
  if f"{name}_q" not in step:
    return None
  return golden.channels_last(step[f"{name}_q"]).astype(np.float32)


def logits_of(step, name, scale):
  """[B, H, W, K] float32, or None."""
  if f"logits_{name}_q" not in step:
    return None
  return golden.channels_last(step[f"logits_{name}_q"]).astype("f4") / scale


def names_of_views(step):
  return ("s1", "s2") if "image_s2_q" in step else ("s1",)


def draws_of(step, scales=None):
  """Strong images, boxes, and scales of a step."""
  names = names_of_views(step)
  strong = tuple(images_of(step, f"image_{name}") for name in names)
  partners = tuple(images_of(step, f"image_{name}_mix") for name in names)
  return views.Draws(
    strong=strong,
    partners=None if partners[0] is None else partners,
    boxes=tuple(step[f"box{name[1]}_y0x0y1x1"] for name in names),
    scales=scales,
  )


def batch_of(step):
  """A batch with its draws; the weak views themselves were not recorded."""
  strong = images_of(step, "image_s1")
  batch = {
    "image_l": np.zeros((*step["label"].shape, 3), np.float32),
    "label_l": step["label"],
    "image_u": np.zeros_like(strong),
    "padding_u": step["ignore"] // 255,
    "draws": draws_of(step),
  }
  if "ignore_mix" in step:
    batch |= {
      "image_u2": np.zeros_like(strong),
      "padding_u2": step["ignore_mix"] // 255,
    }
  return batch


def _method(name, config, batch):
  """The method of a recorded step."""
  by_student = config["version"] == 1
  own = {}
  if name == "fixmatch":
    own["labels_by"] = "student" if by_student else "teacher"
    own["partner"] = "same_image" if by_student else "reversed_batch"
  parts = make_parts(
    config,
    SCRIPTED,
    batch_size_l=len(batch["image_l"]),
    batch_size_u=len(batch["image_u"]),
  )
  (phase,) = methods.find(name).create(
    parts, *options_of(name, config, **own), draw=draw_given
  )
  return phase.method


def _outputs(logits, *, by_student, is_joined):
  """Logits by view as the network gives them, from those by stream."""
  strong = [logits[name] for name in ("s1", "s2") if name in logits]
  strong = strong[0] if len(strong) == 1 else interleave.join(*strong)
  if not by_student:
    if is_joined:
      return ({"logits": interleave.join(logits["x"], strong)},)
    return {"logits": logits["x"]}, {"logits": strong}
  first = {"logits": interleave.join(logits["x"], logits["w"])}
  if "fp" in logits:
    count = len(logits["x"])
    halves = logits["fp"][:count], logits["fp"][count:]
    first["perturbed"] = interleave.join(*halves)
  return first, {"logits": strong}


@functools.cache
def _compile(name, config_json):
  """(batch, logits, logits of the labeling network) -> what `replay` gives."""
  config = json.loads(config_json)
  by_student = config["version"] == 1

  def compute(logits, labeling, batch):
    method = _method(name, config, batch)
    memory, student = None, {"logits": labeling}
    if not by_student:
      memory = types.SimpleNamespace(teacher=student)
    lesson, _, taught = method.teach(memory, student, batch, {}, jnp.int32(0))
    outputs = _outputs(
      logits, by_student=by_student, is_joined=name == "fixmatch"
    )
    lesson, _, observed = method.observe(
      memory, jax.lax.stop_gradient(outputs), lesson
    )
    losses = method.losses(outputs, lesson)
    total = sum(losses.values())
    return total, (losses | {"total": total}, lesson, taught | observed)

  return jax.jit(jax.value_and_grad(compute, has_aux=True))


def replay(name, config_json, step):
  """Losses, targets, metrics and gradients of a step.

  Args:
    name: of the method.
    config_json: of the recording.
    step: its arrays.
  """
  config_json = str(config_json)
  config = json.loads(config_json)
  logits = {
    key: logits_of(step, key, config["logit_scale"])
    for key in ("x", "w", "w_mix", "fp", "s1", "s2")
  }
  logits = {key: value for key, value in logits.items() if value is not None}
  # The student in eval mode, or the teacher.
  labeling = logits.pop("w_mix" if config["version"] == 1 else "w")
  (_, found), gradients = _compile(name, config_json)(
    logits, labeling, batch_of(step)
  )
  return (*jax.device_get(found), jax.device_get(gradients))


def mixed_images(step, lesson):
  """The strong views that the student sees, by name."""
  images = lesson.views[-1].images
  names = names_of_views(step)
  count = len(step["image_s1_q"])
  if len(images) > count * len(names):  # Behind labeled ones.
    return {"s1": interleave.part(images, len(images) - count)[1]}
  parts = (images,) if len(names) == 1 else interleave.part(images, count)
  return dict(zip(names, parts, strict=True))


def guess_of(step, suffix=""):
  """The recorded labels, confidence and padding of weak views."""
  return targets.Guess(
    labels=step[f"pseudo_label{suffix}"].astype(np.int32),
    confidence=step[f"confidence{suffix}"],
    is_image=step[f"ignore{suffix}"] == 0,
  )


def weights_of(name, config):
  """What each recorded part counts in the total."""
  shared, _, own = options_of(name, config)
  weights = {"x": shared.supervised_weight}
  count = 1 if name == "fixmatch" else 2
  for index in range(1, count + 1):
    weights[f"s{index}"] = own.strong_weight / count
  if name == "unimatch":
    weights["fp"] = own.perturbed_weight
  return weights


NAMES_OF_LOSSES = {
  "x": "supervised", "s1": "strong1", "s2": "strong2", "fp": "perturbed",
}  # fmt: skip
