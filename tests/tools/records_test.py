from u2pl_jax.tools import records


def test_records_are_appended(tmp_path):
  out = tmp_path / "new" / "results.jsonl"
  for number in (1, 2):
    records.append({"number": number}, out)
  assert out.read_text() == '{"number": 1}\n{"number": 2}\n'
  assert records.read(out) == [{"number": 1}, {"number": 2}]
  assert records.read(tmp_path / "none.jsonl") == []


def test_a_record_tells_machine_and_versions():
  told = records.describe_machine()
  assert told["cpu"] and told["cpu_count"] >= 1
  assert {"python", "jax", "numpy"} <= told["versions"].keys()
