// Bars over time, and a line of the last minutes, as small SVG.

import { draw, make, say } from "./dom.js";
import { brief, niceTop } from "./format.js";

const WIDTH = 720;
const LEFT = 44;
const BOTTOM = 18;
const TOP = 8;

// `bars` are {label, value, words}; `words` is said while the pointer is on a bar.
export function barChart({ title, summary, bars, height, tone }) {
  const top = niceTop(Math.max(...bars.map((bar) => bar.value), 0));
  const inner = height - BOTTOM - TOP;
  const step = (WIDTH - LEFT) / Math.max(bars.length, 1);
  const y = (value) => TOP + inner * (1 - value / top);
  const chart = draw("svg", {
    viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": summary, class: `chart ${tone}`,
  });
  for (const value of [0, top / 2, top]) {
    chart.append(
      draw("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value), class: "grid" }),
      Number.isInteger(value)
        ? draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, brief(value)) : "");
  }
  const said = make("p", { class: "readout muted small", "aria-hidden": "true" }, title);
  const every = Math.ceil(bars.length / 8);
  bars.forEach((bar, index) => {
    const x = LEFT + index * step;
    const size = bar.value ? Math.max(2, (inner * bar.value) / top) : 0;
    chart.append(
      draw("rect", {
        x: x + step * 0.12, width: step * 0.76, y: TOP + inner - size, height: size, class: "bar",
      }),
      draw("rect", {
        x, width: step, y: TOP, height: inner, class: "catch",
        onpointerenter: () => say(said, bar.words),
        onpointerleave: () => say(said, title),
      }));
    if ((bars.length - 1 - index) % every === 0) {
      chart.append(draw("text",
        { x: x + step / 2, y: height - 4, "text-anchor": "middle" }, bar.label));
    }
  });
  return make("figure", {}, said, chart);
}

// A line of values, oldest first; where one is null nothing is known, which is shaded.
export function sparkLine(values, summary) {
  const [width, height] = [values.length - 1, 48];
  const top = Math.max(...values.map((value) => value ?? 0), 1);
  const path = [];
  const shades = [];
  let isOpen = false;
  values.forEach((value, index) => {
    if (value !== null) {
      path.push(`${isOpen ? "L" : "M"}${index} ${(height - 2 - (height - 6) * (value / top)).toFixed(1)}`);
    }
    isOpen = value !== null;
    if (isOpen) return;
    if (values[index - 1] === null) shades.at(-1).until = index + 1;
    else shades.push({ from: index, until: index + 1 });
  });
  return draw("svg", {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": summary, class: "spark",
  }, ...shades.map(({ from, until }) =>
    draw("rect", { x: from, width: until - from, height, class: "unknown" })),
  draw("line", { x1: 0, x2: width, y1: height - 1, y2: height - 1, class: "grid" }),
  draw("path", { d: path.join(""), class: "line" }));
}

// How full something is, with the words beside it.
export function gauge(name, share, words) {
  const filled = Math.min(Math.max(share, 0), 1);
  const tone = filled >= 0.9 ? "bad" : filled >= 0.6 ? "warn" : "ok";
  const bar = draw("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: `gauge ${tone}`, "aria-hidden": "true" },
    draw("rect", { width: 100, height: 6, class: "track" }),
    draw("rect", { width: filled ? Math.max(filled * 100, 1) : 0, height: 6, class: "fill" }));
  return make("div", { class: "gauge-row" },
    make("p", {}, make("span", {}, name), make("span", { class: "number" }, words)), bar);
}
