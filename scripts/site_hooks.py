"""What MkDocs cannot do by itself for the pages of docs/; see mkdocs.yml.

- `<!-- options: NAME -->` and `<!-- recipes: NAME -->` become tables, see
  `site_options`;
- equations become MathML, which browsers draw without a script;
- links out of docs/ lead to copies of these files within the site;
- the README is the home page;
- the API's pages, one for each folder of the packages, are made of docstrings.

Without the site, as on GitHub, the pages can be read all the same: comments do
not show, and equations and links are of a form that is understood there.
"""

import html
import pathlib
import posixpath
import re
import sys
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from latex2mathml import converter
from mkdocs.structure import files as site_files

from scripts import site_options

_ROOT = pathlib.Path(__file__).parents[1]
_DOCS = _ROOT / "docs"
_TABLES = {
  "options": site_options.options_table,
  "recipes": site_options.recipes_table,
}
_TABLE = re.compile(r"^<!-- (options|recipes): ([\w.]+) -->$", re.MULTILINE)
_INLINE_MATH = re.compile(r"\$`([^`]+)`\$")
_LINK = re.compile(r"\]\(([^)#\s]+)\)")
_MATH = re.compile(
  r'<(span|div) class="arithmatex">\\([(\[])\s*(.*?)\s*\\[)\]]</\1>', re.DOTALL
)
_PACKAGES = ("u2pl_jax", "data_prep")
_SOURCE = "source"  # Folder of the site with the files that pages link to.
_LANGUAGES = {".sh": "bash", ".txt": "text"}


def on_config(config):
  """Adds the pages of the API to the navigation."""
  config.nav.append({"API": [{n: f"api/{n}.md"} for n, _ in _rooms()]})
  return config


def on_files(files, config):
  """Adds pages: home, of the API, and of the files that others link to."""
  made = {f"api/{name}.md": _api_page(name, ms) for name, ms in _rooms()}
  made["index.md"] = _home_page()
  texts = {page: page.read_text() for page in _DOCS.rglob("*.md")}
  texts[_DOCS / "index.md"] = made["index.md"]
  for page, text in texts.items():
    for target in _LINK.findall(text):
      path = _outside(page, target)
      if path:
        made[f"{_SOURCE}/{path}.md"] = _source_page(path)
  for uri, content in made.items():
    files.append(site_files.File.generated(config, uri, content=content))
  return files


def on_page_markdown(markdown, page, config, files):
  """Draws tables, and turns links out of docs/ to the copies in the site."""
  del config, files
  uri = page.file.src_uri
  if uri.startswith(f"{_SOURCE}/"):
    return markdown

  def turn(link):
    path = _outside(_DOCS / uri, link[1])
    copy = posixpath.relpath(f"{_SOURCE}/{path}.md", posixpath.dirname(uri))
    return f"]({copy})" if path else link[0]

  markdown = _TABLE.sub(_draw_table, markdown)
  markdown = _INLINE_MATH.sub(lambda found: rf"\({found[1]}\)", markdown)
  return _LINK.sub(turn, markdown)


def on_page_content(content, page, config, files):
  """Replaces the equations of a page by MathML."""
  del page, config, files
  return _MATH.sub(_to_mathml, content)


def _draw_table(found: re.Match) -> str:
  table = _TABLES[found[1]](found[2])
  if found[1] != "options":
    return table
  return f'<div class="settings" markdown>\n\n{table}\n\n</div>'


def _to_mathml(found: re.Match) -> str:
  display = "block" if found[1] == "div" else "inline"
  math = converter.convert(html.unescape(found[3]), display=display)
  return f'<div class="equation">{math}</div>' if display == "block" else math


def _outside(page: pathlib.Path, target: str) -> str:
  """The path in the repository that a link leads to; "" if within docs/."""
  if ":" in target:
    return ""
  path = pathlib.Path(posixpath.normpath(page.parent / target))
  if not path.is_file() or path.is_relative_to(_DOCS):
    return ""
  return path.relative_to(_ROOT).as_posix()


def _home_page() -> str:
  """The README, with links as from docs/."""

  def turn(link):
    target = link[1]
    if ":" not in target:
      target = posixpath.relpath(target, _DOCS.name)
    return f"]({target})"

  return _LINK.sub(turn, (_ROOT / "README.md").read_text())


def _source_page(path: str) -> str:
  file = _ROOT / path
  language = _LANGUAGES.get(file.suffix, file.suffix.removeprefix("."))
  title = path.replace("_", r"\_")
  head = f"---\nsearch:\n  exclude: true\n---\n# {title}\n"
  return f"{head}\n``````{language}\n{file.read_text()}\n``````\n"


def _rooms() -> Iterator[tuple[str, list[str]]]:
  """Folders of the packages by name, and the full names of their modules."""
  for package in _PACKAGES:
    for folder in sorted({f.parent for f in (_ROOT / package).rglob("*.py")}):
      name = ".".join(folder.relative_to(_ROOT).parts)
      modules = [
        name if f.stem == "__init__" else f"{name}.{f.stem}"
        for f in sorted(folder.glob("*.py"))
        if f.stat().st_size
      ]
      if modules:
        yield name, modules


def _api_page(name: str, modules: list[str]) -> str:
  return "\n".join([f"# {name}", ""] + [f"::: {m}\n" for m in modules])
