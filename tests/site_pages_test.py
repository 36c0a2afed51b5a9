"""The built site in a browser: complete, narrow enough, and by itself."""

import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from u2pl_jax import methods

CHROMIUM = shutil.which("chromium")
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    any(
      importlib.util.find_spec(name) is None
      for name in ("mkdocs", "mkdocstrings", "latex2mathml", "playwright")
    ),
    reason="needs mkdocs and playwright, of requirements-dev.txt",
  ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """The folder of the site, built with warnings as errors."""
  out = tmp_path_factory.mktemp("site")
  finished = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out],
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert finished.returncode == 0, finished.stderr
  return out


def find_pages(site):
  """Pages with a text of their own, as paths within the site."""
  names = [
    path.relative_to("docs") for path in pathlib.Path("docs").rglob("*.md")
  ]
  pages = ["index.html"] + [str(name.with_suffix(".html")) for name in names]
  assert all((site / page).is_file() for page in pages)
  return sorted(pages)


@pytest.mark.parametrize("name", methods.names())
def test_a_method_shows_equations_options_and_recipes(site, name):
  text = (site / "methods" / f"{name}.html").read_text()
  assert "<math" in text
  assert not any(left in text for left in ("arithmatex", "$`", "<!-- options"))
  assert "<th>allowed</th>" in text and "<code>reference</code></th>" in text


def test_every_room_has_a_page_of_its_docstrings(site):
  for room in ("u2pl_jax.ops", "u2pl_jax.methods.u2pl", "data_prep"):
    assert 'class="doc ' in (site / "api" / f"{room}.html").read_text()


def test_the_readme_is_the_home_page(site):
  text = (site / "index.html").read_text()
  assert 'href="quickstart.html"' in text and 'src="synthetic.png"' in text
  assert 'href="source/CITATION.cff.html"' in text and "docs/" not in re.sub(
    r"<code>.*?</code>", "", text, flags=re.DOTALL
  )


def test_links_to_code_lead_to_copies_of_it(site):
  text = (site / "methods" / "u2pl.html").read_text()
  target = "source/u2pl_jax/methods/u2pl/settings.py.html"
  assert f'href="../{target}"' in text
  assert "unreliable_percent" in (site / target).read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_no_wider_than_the_window_and_load_nothing_else(site, width):
  from playwright import sync_api

  outside, wide, broken = [], [], []
  with sync_api.sync_playwright() as playwright:
    with playwright.chromium.launch(
      executable_path=CHROMIUM, args=["--no-sandbox"]
    ) as chromium:
      page = chromium.new_page(viewport={"width": width, "height": 800})
      page.on("request", lambda request: outside.append(request.url))
      for name in find_pages(site):
        page.goto(f"file://{site}/{name}")
        if page.evaluate("document.documentElement.scrollWidth") > width:
          wide.append(name)
        images = "[...document.images].filter(i => !i.naturalWidth).length"
        if page.evaluate(images):
          broken.append(name)
  assert not wide and not broken
  local = ("file:", "data:", "blob:")
  assert not [url for url in outside if not url.startswith(local)]
