"""Names, shapes and dtypes of the published network of UniMatch V1."""

from tests.parity import golden, network, unimatch_model


@golden.every_file("unimatch_state_dict")
def test_entries(path):
  recorded = network.read_entries(path)
  depth = 101 if any(".layer3.22." in name for name in recorded) else 50
  (num_classes,) = recorded["classifier.bias"][0]
  model = unimatch_model.build(depth, num_classes)
  ours = network.describe_entries(model.variable_shapes())
  assert {
    unimatch_model.name_in_file(n): e for n, e in ours.items()
  } == recorded
