"""The page in a browser: drawn whole, usable by keyboard, silent."""

import importlib.util
import shutil

import pytest

from tests import saved_state, tiny_run
from tests.report import ranked, reported
from u2pl_jax.tools import compare, gallery, report

CHROMIUM = shutil.which("chromium")
pytestmark = [
  pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
  pytest.mark.skipif(
    importlib.util.find_spec("playwright") is None,
    reason="needs playwright, of requirements-dev.txt",
  ),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Reports of one run, of two, of one without its data, and other pages."""
  folder = tmp_path_factory.mktemp("reports")
  data_dir = tiny_run.make_dataset(folder / "data")
  for name, arg in (("one", ""), ("two", "method=suponly")):
    reported.write_run(folder / name, data_dir, salt=name, arg=arg)
  one, two = f"--workdir={folder}/one", f"--compare={folder}/two"
  missing = f"--data_dir={folder}/elsewhere"
  for name, flags in (
    ("single", [one]),
    ("compared", [one, two]),
    ("no_data", [one, missing]),
  ):
    assert report.main([*flags, f"--out={folder}/{name}.html"]) == 0
  page = ranked.render(folder / "predicted")
  (folder / "ranking.html").write_text(page)
  runs = f"--workdirs={folder}/one,{folder}/two"
  assert compare.main([runs, f"--out={folder}/comparison.html"]) == 0
  settings = {"semi.supervised_epochs": 0}
  config = tiny_run.make_config(data_dir, **settings)
  lesson = saved_state.write_run(folder / "lesson", config, 6)
  flags = [f"--workdir={lesson}", f"--out={folder}/gallery.html"]
  assert gallery.main(flags) == 0
  return folder


@pytest.fixture(scope="module")
def browser():
  from playwright import sync_api

  with sync_api.sync_playwright() as playwright:
    with playwright.chromium.launch(
      executable_path=CHROMIUM, args=["--no-sandbox"]
    ) as chromium:
      yield chromium


@pytest.fixture
def open_page(browser, files):
  """open_page(name, **options) -> page; at the end it must have been silent."""
  opened, complaints, requests = [], [], []

  def open_page(name, width=1280, **options):
    page = browser.new_page(viewport=dict(width=width, height=800), **options)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"file://{files}/{name}.html")
    opened.append(page)
    return page

  yield open_page
  for page in opened:
    page.close()
  assert not complaints
  outside = ("data:", "blob:")
  left = [url for url in requests if not url.startswith(outside)]
  assert [url.partition(":")[0] for url in left] == ["file"] * len(opened)


@pytest.mark.parametrize(
  ("name", "width", "scheme"),
  [
    ("single", 1280, "light"),
    ("single", 390, "dark"),
    ("compared", 1280, "dark"),
    ("compared", 390, "light"),
    ("no_data", 390, "light"),
  ],
)
def test_everything_is_drawn_and_nothing_is_wider_than_the_page(
  open_page, name, width, scheme
):
  page = open_page(name, width, color_scheme=scheme)
  charts = page.evaluate(
    """[...document.querySelectorAll("[data-chart]")].map((plot) => [
      plot.dataset.chart,
      plot.data.length,
      plot.querySelectorAll(".scatterlayer .trace path.js-line").length
        + plot.querySelectorAll(".heatmaplayer image").length,
    ])"""
  )
  keys = {key for key, *_ in charts}
  assert {"miou", "iou", "loss", "threshold", "fraction", "bank"} <= keys
  assert ("confusion-0" in keys) == (name != "no_data")
  assert ("confusion-1" in keys) == (name == "compared")
  assert all(count == drawn > 0 for _, count, drawn in charts)
  images = page.evaluate(
    """Promise.all([...document.querySelectorAll(".picture img")].map(
      (image) => image.decode().then(() => image.complete
        ? image.naturalWidth : 0)))"""
  )
  per_image = {"single": 6, "compared": 10, "no_data": 0}[name]
  assert images == [32] * 9 * per_image
  width_needed = "document.documentElement.scrollWidth"
  assert page.evaluate(width_needed) <= width


def viewer_title(page):
  return page.locator("#viewer-title").text_content()


def test_the_viewer_opens_moves_and_closes_by_keyboard(open_page):
  page = open_page("compared")
  names = page.locator(".card h3").all_text_contents()
  page.focus("#class")
  page.keyboard.press("Tab")
  focused = "document.activeElement"
  assert page.evaluate(f"{focused}.matches('.picture:focus-visible')")
  assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
  page.keyboard.press("Enter")
  assert page.locator("#viewer[open]").count() == 1
  seen = [viewer_title(page)]
  for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft"):
    page.keyboard.press(key)
    seen.append(viewer_title(page))
  first, second = names[:2]
  assert seen == [
    f"Image of {first}",
    f"Label of {first}",
    f"Prediction of {first}, one",
    f"Prediction of {second}, one",
    f"Prediction of {first}, one",
    f"Label of {first}",
  ]
  page.keyboard.press("Escape")
  assert page.locator("#viewer[open]").count() == 0
  label = f"{focused}.querySelector('img').alt"
  assert page.evaluate(label) == f"Label of {first}"


def test_every_picture_is_within_reach_of_the_arrow_keys(open_page):
  page = open_page("compared")
  page.locator(".picture").first.click()
  alts = page.evaluate(
    "[...document.querySelector('.card').querySelectorAll('img')].map("
    "(image) => image.alt)"
  )
  seen = []
  for _ in alts:
    seen.append(viewer_title(page))
    page.locator("[data-step=right]").click()
  assert seen == alts and viewer_title(page) == alts[0]
  page.locator("[data-step=up]").click()
  assert viewer_title(page) == alts[0]
  page.locator("#close").click()
  assert page.locator("#viewer[open]").count() == 0


def scores(page):
  return page.evaluate(
    "[...document.querySelectorAll('.card:not([hidden])')].map("
    "(card) => JSON.parse(card.dataset.scores))"
  )


def test_images_are_sorted_and_chosen_by_class(open_page):
  page = open_page("compared")
  everything = scores(page)
  worst_first = [card["miou"][0] for card in everything]
  assert worst_first == sorted(worst_first)
  page.select_option("#sort", "best")
  assert [card["miou"][0] for card in scores(page)] == worst_first[::-1]
  page.select_option("#sort", "gain")
  gains = [card["miou"][1] - card["miou"][0] for card in scores(page)]
  assert gains == sorted(gains, reverse=True)
  page.select_option("#sort", "record")
  assert [card["record"] for card in scores(page)] == list(range(9))
  page.select_option("#sort", "worst")
  page.select_option("#class", "6")
  expected = [
    card
    for card in everything
    if any(of_run[6] is not None for of_run in card["iou"])
  ]
  shown = scores(page)
  assert len(shown) == len(expected) < 9
  of_class = [card["iou"][0][6] for card in shown]
  ranked = [value for value in of_class if value is not None]
  assert of_class[: len(ranked)] == sorted(ranked)
  count = page.locator("#count").text_content()
  assert count == f"{len(expected)} of 9 images"


def test_dark_and_light_follow_the_system_and_the_button(open_page):
  from playwright import sync_api

  page = open_page("single", color_scheme="light")
  colors = """[
    getComputedStyle(document.body).backgroundColor,
    getComputedStyle(document.querySelector(".plot text")).fill,
  ]"""
  light = page.evaluate(colors)
  page.click("#theme")
  dark = page.evaluate(colors)
  assert light[0] == "rgb(255, 255, 255)" and dark[0] == "rgb(20, 23, 28)"
  assert light[1] != dark[1]
  page.click("#theme")
  assert page.evaluate(colors) == light
  page.emulate_media(color_scheme="dark")
  sync_api.expect(page.locator("#theme")).to_have_text("Light")
  assert page.evaluate(colors) == dark


def test_no_button_of_a_chart_sends_it_away(open_page):
  page = open_page("single")
  titles = page.evaluate(
    "[...document.querySelectorAll('.modebar-btn')].map("
    "(button) => button.dataset.title)"
  )
  assert set(titles) == {
    "Zoom",
    "Pan",
    "Reset axes",
    "Download plot as a PNG",
  }


def test_a_finger_scrolls_over_a_chart(open_page):
  page = open_page("single", 390, has_touch=True, is_mobile=True)
  modes = page.evaluate(
    "[...document.querySelectorAll('[data-chart]')].map("
    "(plot) => plot.layout.dragmode)"
  )
  assert set(modes) == {False}
  assert page.locator(".modebar-btn").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_ranks_fits_and_its_pictures_are_enlarged(open_page, width):
  page = open_page("ranking", width)
  needed = page.evaluate("document.documentElement.scrollWidth")
  assert needed <= width
  assert page.locator(".card img").count() == 4 * len(ranked.NAMES)
  page.locator(".picture").nth(1).click()
  assert viewer_title(page) == f"Overlay of {ranked.NAMES[0]}.png"
  page.keyboard.press("ArrowDown")
  assert viewer_title(page) == f"Overlay of {ranked.NAMES[1]}.png"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
  "name, rows", [("gallery", [3] * 4 + [6] * 4), ("comparison", [4] * 9)]
)
def test_rows_of_pictures_fit_and_are_within_reach(
  open_page, name, rows, width
):
  page = open_page(name, width)
  needed = page.evaluate("document.documentElement.scrollWidth")
  assert needed <= width
  found = page.evaluate(
    "[...document.querySelectorAll('.card')].map("
    "(card) => card.querySelectorAll('img').length)"
  )
  assert found == rows
  page.locator(".card").last.locator(".picture").last.click()
  last = viewer_title(page)
  for _ in rows:
    page.keyboard.press("ArrowUp")
  titles = {"gallery": "Negatives of", "comparison": "two: "}
  assert viewer_title(page).startswith(titles[name])
  for _ in rows:
    page.keyboard.press("ArrowDown")
  assert page.locator("#viewer-note").text_content() == (
    f"image {len(rows)} of {len(rows)}"
  )
  assert last.endswith(page.locator(".card h3").last.text_content())
