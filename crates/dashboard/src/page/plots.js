// The last hour of a host as small plots. The dashboard keeps the history, so that a reload loses nothing.

import { $, celsius, clock, element, milliseconds, percent, setText } from "./text.js";
import { draws, store } from "./store.js";

const PLOTS = [
  {
    name: "cpu",
    title: "CPU",
    show: percent,
    top: 1,
    colour: "--plot-1",
    now: (view) => view.vitals?.cpu_usage ?? share(view.metrics?.cpu),
  },
  {
    name: "memory",
    title: "Memory",
    show: percent,
    top: 1,
    colour: "--plot-2",
    now: (view) => view.vitals?.memory_usage ?? share(view.metrics?.ram),
  },
  {
    name: "disk",
    title: "Disk",
    show: percent,
    top: 1,
    colour: "--plot-3",
    now: (view) => view.vitals?.disk_usage,
  },
  { name: "gpu", title: "GPU", show: percent, top: 1, colour: "--plot-4", now: (view) => view.vitals?.gpu_usage },
  {
    name: "gpu_temp",
    title: "GPU temperature",
    show: celsius,
    top: 100,
    colour: "--plot-5",
    now: (view) => view.vitals?.gpu_temp_celsius,
  },
  {
    name: "rtt_ms",
    title: "Round trip",
    show: milliseconds,
    least: 5,
    colour: "--plot-6",
    now: (view) => view.ack_rtt_ms,
  },
  {
    name: "late_ms",
    title: "Beats late by",
    show: milliseconds,
    least: 100,
    colour: "--plot-7",
    now: () => undefined,
  },
];

const share = (percents) => (percents == null ? null : percents / 100);

const HEIGHT = 56;
// The dashboard's shortest step, in milliseconds: asking more often gives nothing new.
const REFRESH_MS = 10000;
// How much time is shown, in seconds: the shortest of these that has all that is known. A host that has just come would
// be a dot in an hour.
const SPANS = [
  [300, "Last 5 minutes"],
  [900, "Last 15 minutes"],
  [3600, "Last hour"],
];

const SYNC = "host";

const figures = new Map();
let history = null;

function figure(plot) {
  const box = element("figure");
  const head = element("figcaption");
  const value = element("b");
  const when = element("span", "when");
  head.append(element("span", "title", plot.title), when, value);
  const canvas = element("div", "canvas");
  box.append(head, canvas);
  $("plots").append(box);
  return { box, head, value, when, canvas, chart: null, width: 0 };
}

// The colour of a custom property as the theme has it, with an opacity: a canvas knows no custom properties.
function colour(name, opacity = 1) {
  const probe = element("i");
  probe.style.color = `var(${name})`;
  $("plots").append(probe);
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g);
  probe.remove();
  return `rgb(${red} ${green} ${blue} / ${opacity})`;
}

// A value without neighbours makes no line, so it gets a point.
function alone(chart, series) {
  const values = chart.data[series];
  return values.flatMap((value, at) =>
    value != null && values[at - 1] == null && values[at + 1] == null ? [at] : [],
  );
}

function build(plot, made, data) {
  made.chart?.destroy();
  made.width = made.canvas.clientWidth;
  made.chart = new uPlot(
    {
      width: made.width,
      height: HEIGHT,
      padding: [3, 0, 0, 0],
      legend: { show: false },
      select: { show: false },
      cursor: { y: false, drag: { setScale: false }, points: { size: 5 }, sync: { key: SYNC } },
      scales: {
        x: { time: true },
        y: { range: (_, low, high) => [0, plot.top ?? Math.max(plot.least, (high ?? 0) * 1.15)] },
      },
      axes: [
        { show: false },
        {
          show: true,
          size: 0,
          ticks: { show: false },
          values: () => [],
          splits: (_u, _i, low, high) => [low, (low + high) / 2, high],
          grid: { stroke: colour("--line"), width: 1 },
        },
      ],
      series: [
        {},
        {
          stroke: colour(plot.colour),
          width: 1.5,
          fill: colour(plot.colour, 0.12),
          spanGaps: false,
          points: { show: true, size: 4, filter: alone },
        },
      ],
      hooks: { setCursor: [(chart) => drawValue(plot, made, chart.cursor.idx)] },
    },
    data,
    made.canvas,
  );
}

function drawValue(plot, made, at) {
  const values = made.chart?.data[1];
  const hovered = at != null && values?.[at] != null;
  const newest = store.view ? plot.now(store.view) : null;
  const last = newest === undefined ? values?.findLast((value) => value != null) : newest;
  setText(made.value, plot.show(hovered ? values[at] : last));
  setText(made.when, hovered ? clock(made.chart.data[0][at] * 1000) : "");
  made.box.classList.toggle("hovered", hovered);
}

function drawAll() {
  if (!history || history.host !== store.watched) return;
  const { step_s: step, start, series } = history;
  $("plots-card").hidden = !Object.values(series).some((values) => values.some((value) => value != null));
  // In a page that shows the table there is no room to measure.
  if (!$("plots").clientWidth) return;
  const length = Math.max(...Object.values(series).map((values) => values.length), 0);
  const end = start + length * step;
  const [span, title] = SPANS.find(([seconds]) => length * step <= seconds) ?? SPANS.at(-1);
  setText($("plots-title"), title);
  const missing = Math.max(0, Math.ceil((span - length * step) / step));
  const times = Array.from({ length: length + missing }, (_, at) => end - (length + missing - at) * step);
  for (const plot of PLOTS) {
    const values = series[plot.name] ?? [];
    const known = values.some((value) => value != null);
    const made = figures.get(plot.name) ?? (known ? figure(plot) : null);
    if (!made) continue;
    figures.set(plot.name, made);
    made.box.hidden = !known;
    if (!known) continue;
    const data = [times, [...new Array(times.length - values.length).fill(null), ...values]];
    if (!made.chart || made.width !== made.canvas.clientWidth) build(plot, made, data);
    else made.chart.setData(data);
    const numbers = values.filter((value) => value != null);
    const [newest, highest] = [numbers.at(-1), Math.max(...numbers)].map(plot.show);
    made.canvas.role = "img";
    made.canvas.ariaLabel = `${plot.title}, ${title.toLowerCase()}: now ${newest}, highest ${highest}`;
    drawValue(plot, made, null);
  }
  // In the order of the list, also when one came later.
  const wanted = PLOTS.map(({ name }) => figures.get(name)?.box).filter(Boolean);
  if (wanted.some((box, at) => $("plots").children[at] !== box)) $("plots").replaceChildren(...wanted);
}

async function refresh() {
  const host = store.watched;
  if (!host || document.hidden || store.link !== "live") return;
  try {
    const answer = await fetch(`api/hosts/${encodeURIComponent(host)}/history`);
    if (!answer.ok || host !== store.watched) return;
    history = { host, ...(await answer.json()) };
    drawAll();
  } catch {
    // The connection is shown to be lost already, and the next attempt comes by itself.
  }
}

let drawn = null;

draws(["host", "link"], () => {
  if (drawn !== store.watched) {
    drawn = store.watched;
    history = null;
    for (const { box } of figures.values()) box.hidden = true;
    $("plots-card").hidden = true;
    refresh();
  }
  for (const plot of PLOTS) {
    const made = figures.get(plot.name);
    if (made?.chart && !made.box.classList.contains("hovered")) drawValue(plot, made, null);
  }
});

setInterval(refresh, REFRESH_MS);
document.addEventListener("visibilitychange", refresh);
new ResizeObserver(drawAll).observe($("plots"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const made of figures.values()) made.width = 0;
  drawAll();
});
