"""Feature perturbation equals the published one, given its masks."""

import json

import jax
import numpy as np
from flax import linen as nn

from tests.parity import golden, unimatch_networks


@golden.once_per_input
def _run(config_json, image_q, drop_c1, drop_c4, *net):
  """What the decoder gets, logits, and statistics, in train and eval mode."""
  config = json.loads(str(config_json))
  names = json.loads(str(net[0]))
  model = unimatch_networks.create(config)
  variables = unimatch_networks.from_torch(
    dict(zip(names, net[1:], strict=True)), model, 1
  )
  images = golden.channels_last(image_q.astype("f4")) / config["image_scale"]
  scales = tuple(2.0 * drop.astype("f4") for drop in (drop_c1, drop_c4))
  inputs = {}

  def note(next_call, args, kwargs, context):
    if context.module.name == "decoder" and context.method_name == "__call__":
      inputs["features"] = args[0]
    return next_call(*args, **kwargs)

  def run(variables, train):
    with nn.intercept_methods(note):
      outputs, updates = model.apply(
        variables,
        images,
        train=train,
        dropout=False,
        perturbed_scales=scales,
        mutable=["batch_stats"],
      )
    return outputs, inputs["features"], updates

  run = jax.jit(run, static_argnums=1)
  found = {}
  with jax.default_matmul_precision("highest"):
    for mode in ("train", "eval"):
      outputs, features, updates = run(variables, mode == "train")
      found[f"{mode}/decoder_in_c1"], found[f"{mode}/decoder_in_c4"] = features
      for name, key in (("logits", "logits"), ("logits_fp", "perturbed")):
        found[f"{mode}/{name}"] = unimatch_networks.full_size(
          outputs[key], images
        )
      # The recorded pass in eval mode came after the one in train mode.
      variables = variables | updates
  statistics = unimatch_networks.to_torch(
    {"batch_stats": variables["batch_stats"]}, 1
  )
  found |= {f"train/bn/{name}": value for name, value in statistics.items()}
  return jax.device_get(found)


@golden.every_file("unimatch_perturbation")
def test_one_pass_in_each_mode(path):
  """Within 5e-5."""
  arrays = golden.load(path)
  entries = unimatch_networks.entries_of(arrays)
  found = _run(
    *(arrays[n] for n in ("config_json", "image_q", "drop_c1", "drop_c4")),
    json.dumps(list(entries)),
    *entries.values(),
  )
  recorded = [
    name
    for name in arrays
    if name.startswith(("train/", "eval/"))
    and not name.endswith("num_batches_tracked")
  ]
  assert set(recorded) == set(found)
  for name in recorded:
    actual = found[name]
    if actual.ndim == 4:
      actual = np.moveaxis(actual, -1, 1)
    np.testing.assert_allclose(
      actual, arrays[name], rtol=0, atol=5e-5, err_msg=name
    )
