"""The notebook: whole, without outputs, and that it runs."""

import importlib.util
import json
import pathlib

import pytest

NOTEBOOK = pathlib.Path("docs/quickstart.ipynb")


def read_cells(kind):
  cells = json.loads(NOTEBOOK.read_text())["cells"]
  return [cell for cell in cells if cell["cell_type"] == kind]


def test_outputs_are_cleared():
  for cell in read_cells("code"):
    assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_python_cells_parse_and_others_are_shell_commands():
  for cell in read_cells("code"):
    source = "".join(cell["source"])
    if source.startswith("%%bash\n"):
      assert "python " in source
    else:
      compile(source, str(NOTEBOOK), "exec")


def test_links_lead_somewhere():
  text = "".join("".join(cell["source"]) for cell in read_cells("markdown"))
  targets = [part.partition(")")[0] for part in text.split("](")[1:]]
  assert targets
  for target in targets:
    assert (NOTEBOOK.parent / target.partition("#")[0]).exists(), target


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("nbclient") is None,
  reason="needs nbclient, of requirements-dev.txt",
)
@pytest.mark.filterwarnings("default")  # Of Jupyter.
def test_it_runs(tmp_path, monkeypatch):
  import nbclient
  import nbformat

  for name, value in {
    "RUNS": str(tmp_path),
    "EPOCHS": "3",
    "JAX_PLATFORMS": "cpu",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
  }.items():
    monkeypatch.setenv(name, value)
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  nbformat.validate(notebook)
  client = nbclient.NotebookClient(
    notebook,
    timeout=900,
    kernel_name="python3",
    resources={"metadata": {"path": str(NOTEBOOK.parent)}},
  )
  client.execute()
  for name in ("synthetic", "mine"):
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert result["miou"] > 0
  shown = [
    output["output_type"]
    for cell in notebook.cells
    for output in cell.get("outputs", [])
    if "image/png" in output.get("data", {})
  ]
  assert len(shown) == 3
  assert (tmp_path / "synthetic/report.html").exists()
