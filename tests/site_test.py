"""The site of docs/: what is drawn from the code, and that pages have it."""

import ast
import pathlib
import re

import pytest

from scripts import site_figures, site_options
from u2pl_jax import methods
from u2pl_jax.models import decoders, encoders
from u2pl_jax.training import assemble, options

DOCS = pathlib.Path("docs")
METHODS = methods.names()


def read_tables():
  """Names of tables that pages ask for, by kind."""
  found = {"options": set(), "recipes": set()}
  for page in DOCS.rglob("*.md"):
    for kind, name in re.findall(
      r"^<!-- (options|recipes): ([\w.]+) -->$", page.read_text(), re.MULTILINE
    ):
      found[kind].add(name)
  return found


def test_a_table_says_key_default_range_and_meaning():
  table = site_options.options_table("u2pl_jax.methods.unimatch_v2")
  rows = table.splitlines()
  assert rows[0] == "| key | default | allowed | meaning |"
  row = "| `unimatch_v2.ema_decay` | `0.996` | 0 to 1 |"
  assert f"{row} Largest decay of the teacher. |" in rows
  assert (
    "| `unimatch_v2.complementary` | `True` | `True`, `False` | Whether a"
    " channel of the features is dropped in one of the two views. |" in rows
  )


def test_a_setting_has_the_meaning_of_its_base_where_it_has_none():
  rows = site_options.options_table("u2pl_jax.methods.u2pl_ael").splitlines()
  row = "| `semi.supervised_epochs` | `0` | ≥ 0 |"
  assert f"{row} Epochs at the start on labeled images alone. |" in rows


@pytest.mark.parametrize("name", sorted(read_tables()["options"]))
def test_every_setting_has_a_meaning(name):
  for row in site_options.options_table(name).splitlines():
    assert not row.endswith("|  |"), row


def test_recipes_stand_side_by_side():
  rows = site_options.recipes_table("u2pl_jax.methods.suponly").splitlines()
  assert rows[0] == "| key | `paper` | `reference` |"
  assert "| `data.pad_label` | `255` | `0` |" in rows


def test_no_table_of_what_has_no_settings():
  with pytest.raises(ValueError, match="u2pl_jax.ops.resize"):
    site_options.options_table("u2pl_jax.ops.resize")


def test_pages_show_every_section_of_a_config():
  classes = {
    cls
    for name in read_tables()["options"]
    for cls in site_options.find_classes(name)
  }
  wanted = {options.RunOptions, *assemble.SECTIONS}
  for name in METHODS:
    wanted |= set(methods.find(name).OPTIONS)
  for package in (encoders, decoders):
    wanted |= {package.find(name).Options for name in package.names()}
  assert not wanted - classes


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page(name):
  page = (DOCS / "methods" / f"{name}.md").read_text()
  assert f"]({name}.svg)" in page and "```math" in page
  assert f"<!-- recipes: u2pl_jax.methods.{name} -->" in page
  assert "results.md" in page and "differences.md" in page
  assert f"]({name}.md)" in (DOCS / "methods" / "index.md").read_text()


@pytest.mark.parametrize("name", METHODS)
def test_pictures_are_as_drawn(name):
  drawn = site_figures.draw(site_figures.FIGURES[name])
  assert (DOCS / "methods" / f"{name}.svg").read_text() == drawn, (
    "python -m scripts.site_figures"
  )


def find_links():
  for page in [pathlib.Path("README.md"), *sorted(DOCS.rglob("*.md"))]:
    for target in re.findall(r"\]\(([^)#:\s]+)[^):\s]*\)", page.read_text()):
      yield page, target


def test_links_lead_to_files_on_github_as_well():
  links = list(find_links())
  assert len(links) > 100
  for page, target in links:
    assert (page.parent / target).is_file(), f"{page}: {target}"


def read_messages():
  """Texts of the package and of data_prep, each f-string as one."""
  texts = []
  for package in ("u2pl_jax", "data_prep"):
    for path in pathlib.Path(package).rglob("*.py"):
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
          parts = node.values
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
          parts = [node]
        else:
          continue
        texts.append("".join(str(getattr(p, "value", "")) for p in parts
                             if isinstance(p, ast.Constant)))  # fmt: skip
  return texts


def test_messages_of_the_documentation_are_those_of_the_code():
  page = (DOCS / "troubleshooting.md").read_text()
  table = page.split("## Messages")[1].split("\n## ")[0]
  messages = [
    message
    for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    for message in re.findall(r"`([^`]+)`", row)
  ]
  assert len(messages) > 20
  texts = read_messages()
  for message in messages:
    for part in filter(None, message.split("…")):
      assert any(part in text for text in texts), f"{message}: {part!r}"


def test_equations_become_mathml():
  pytest.importorskip("mkdocs", reason="of requirements-dev.txt")
  from scripts import site_hooks

  shown = site_hooks.on_page_content(
    '<p><span class="arithmatex">\\(a &lt; b_c\\)</span></p>'
    '<div class="arithmatex">\\[\n\\frac{x}{y}\n\\]</div>',
    None, None, None,
  )  # fmt: skip
  assert "arithmatex" not in shown and "&#x0003C;" in shown
  assert shown.count("<math") == 2 and "<mfrac>" in shown
