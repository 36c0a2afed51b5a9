"""The whole network's entries have the published names, shapes and dtypes.

The order of the entries is not compared: everything goes by name here.
"""

from tests.parity import golden, network


@golden.every_file("state_dict")
def test_names_shapes_and_dtypes(path):
  recorded = network.read_entries(path)
  recognized = network.recognize(recorded)
  assert recognized.is_whole
  variables = recognized.variable_shapes()
  assert network.describe_entries(variables) == recorded
