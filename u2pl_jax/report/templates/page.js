"use strict";

const byId = (id) => document.getElementById(id);

function drawCharts() {
  const charts = JSON.parse(byId("charts").textContent);
  // On a touch screen a finger scrolls the page instead.
  const touch = matchMedia("(pointer: coarse)").matches;
  const dragmode = touch ? false : "zoom";
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    // These alone: among the others is one that uploads the chart.
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };
  for (const plot of document.querySelectorAll("[data-chart]")) {
    const {data, layout} = charts[plot.dataset.chart];
    Plotly.newPlot(plot, data, {...layout, dragmode}, config);
  }
}

function setUpTheme() {
  const button = byId("theme");
  const show = (dark) => {
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    button.textContent = dark ? "Light" : "Dark";
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  show(system.matches);
  system.addEventListener("change", () => show(system.matches));
  button.addEventListener("click", () => {
    show(document.documentElement.style.colorScheme === "light");
  });
}

// The mIoU of an image, or its IoU of the chosen class; null if it has none.
const scoreOf = (card, chosen, run) => (chosen === ""
  ? card.scores.miou[run] : card.scores.iou[run][chosen]);

function difference(card, chosen) {
  const [first, second] = [0, 1].map((run) => scoreOf(card, chosen, run));
  return first === null || second === null ? null : second - first;
}

// What cards are sorted by, and whether ascending (1) or descending (-1).
const orders = {
  worst: [(card, chosen) => scoreOf(card, chosen, 0), 1],
  best: [(card, chosen) => scoreOf(card, chosen, 0), -1],
  gain: [difference, -1],
  loss: [difference, 1],
  record: [(card) => card.scores.record, 1],
};

function setUpGallery() {
  const cards = [...document.querySelectorAll(".card")].map((element) => (
    {element, scores: JSON.parse(element.dataset.scores)}));
  const update = () => {
    const chosen = byId("class").value;
    const [scoreBy, sign] = orders[byId("sort").value];
    for (const card of cards) {
      card.element.hidden = chosen !== ""
        && card.scores.iou.every((ofRun) => ofRun[chosen] === null);
      const score = scoreBy(card, chosen);
      card.key = score === null ? Infinity : sign * score;
    }
    cards.sort((one, other) => (
      one.key === other.key ? 0 : one.key - other.key));
    byId("cards").append(...cards.map((card) => card.element));
    const shown = cards.filter((card) => !card.element.hidden).length;
    byId("count").textContent = `${shown} of ${cards.length} images`;
  };
  byId("sort").addEventListener("change", update);
  byId("class").addEventListener("change", update);
  update();
}

function setUpViewer() {
  const viewer = byId("viewer");
  let current = null;
  const show = (picture) => {
    current = picture;
    const card = picture.closest(".card");
    const cards = [...document.querySelectorAll(".card:not([hidden])")];
    const image = picture.querySelector("img");
    const large = byId("viewer-image");
    large.src = image.src;
    large.alt = image.alt;
    large.classList.toggle("flat", picture.classList.contains("flat"));
    byId("viewer-title").textContent = image.alt;
    byId("viewer-note").textContent =
      `image ${cards.indexOf(card) + 1} of ${cards.length}`;
  };
  const step = (direction) => {
    const card = current.closest(".card");
    const pictures = [...card.querySelectorAll(".picture")];
    const index = pictures.indexOf(current);
    const sideways = {left: -1, right: 1}[direction];
    if (sideways) {
      show(pictures.at((index + sideways) % pictures.length));
      return;
    }
    const cards = [...document.querySelectorAll(".card:not([hidden])")];
    const next = cards[cards.indexOf(card) + (direction === "up" ? -1 : 1)];
    if (!next) return;
    // Cards of another kind may have fewer pictures.
    const others = next.querySelectorAll(".picture");
    show(others[Math.min(index, others.length - 1)]);
  };
  byId("cards").addEventListener("click", (event) => {
    const picture = event.target.closest(".picture");
    if (!picture) return;
    show(picture);
    viewer.showModal();
  });
  viewer.addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    step(event.key.slice("Arrow".length).toLowerCase());
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer || event.target.id === "close") viewer.close();
    if (event.target.dataset.step) step(event.target.dataset.step);
  });
  viewer.addEventListener("close", () => {
    current.scrollIntoView({block: "nearest"});
    current.focus();
  });
}

setUpTheme();
if (byId("charts")) drawCharts();
if (byId("sort")) setUpGallery();
if (byId("cards")) setUpViewer();
