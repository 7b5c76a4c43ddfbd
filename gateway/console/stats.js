// Volume of 24 hours or 7 days, and the event types of the same window.

import { barChart } from "./chart.js";
import { byId, draw, foreign, make, say } from "./dom.js";
import { bucket, count, moment, plural } from "./format.js";
import { Panel } from "./panel.js";

const NAMES = { "24h": "last 24 hours", "7d": "last 7 days" };
const MAX_TYPES = 100;

export function statsPanel(context) {
  let window = "24h";
  const panel = new Panel("volume", {
    everyMs: 5_000,
    load: (api) => api.get(`/api/ingestion/stats?window=${window}`),
    show: showStats,
    context,
  });
  const buttons = [...document.querySelectorAll("#volume [data-window]")];
  for (const button of buttons) {
    button.onclick = () => {
      window = button.dataset.window;
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
      panel.refresh();
    };
    button.setAttribute("aria-pressed", String(button.dataset.window === window));
  }
  showTypes({ window, event_types: [], total_events: 0 }, "Loading…");
  return panel;
}

function showStats(stats) {
  showTypes(stats, stats.total_events ? "" : `No events in the ${NAMES[stats.window]}.`);
  if (!stats.total_events) {
    return `No events in the ${NAMES[stats.window]}. What is accepted shows here within seconds.`;
  }
  say(byId("total-events"), count(stats.total_events));
  say(byId("total-users"), count(stats.unique_users));
  const bars = stats.timeseries.map((one) => {
    const label = bucket(moment(one.bucket), stats.window);
    const words = `${label} · ${plural(one.event_count, "event")} · ${plural(one.unique_users, "user")}`;
    return { label, words, events: one.event_count, users: one.unique_users };
  });
  const per = stats.window === "24h" ? "hour" : "day";
  byId("charts").replaceChildren(
    chartOf(bars, "events", `Events per ${per}`, 150, "primary"),
    chartOf(bars, "users", `Unique users per ${per}`, 92, "second"));
  say(byId("figures-caption"), `${NAMES[stats.window]}, by ${per}${per === "day" ? " (UTC)" : ""}`);
  byId("figure-rows").replaceChildren(...bars.map((bar) =>
    make("tr", {}, make("th", { scope: "row" }, bar.label),
      make("td", { class: "number" }, count(bar.events)),
      make("td", { class: "number" }, count(bar.users)))));
  return "";
}

function chartOf(bars, key, title, height, tone) {
  const highest = bars.reduce((best, bar) => (bar[key] > best[key] ? bar : best), bars[0]);
  const summary = `${title}: highest ${count(highest[key])} at ${highest.label}.` +
    " The figures are in the table below.";
  return barChart({
    title, summary, height, tone,
    bars: bars.map((bar) => ({ label: bar.label, value: bar[key], words: bar.words })),
  });
}

function showTypes(stats, nothing) {
  const state = byId("types-state");
  say(state, nothing);
  state.hidden = !nothing;
  say(byId("types-window"), nothing ? "" : NAMES[stats.window]);
  const list = byId("type-rows");
  list.parentElement.hidden = Boolean(nothing);
  const most = stats.event_types[0]?.count ?? 1;
  list.replaceChildren(...stats.event_types.slice(0, MAX_TYPES).map((one) =>
    make("li", {}, foreign(one.event_type), make("span", { class: "number" }, count(one.count)),
      draw("svg", { viewBox: "0 0 100 3", preserveAspectRatio: "none", class: "gauge", "aria-hidden": "true" },
        draw("rect", { width: Math.max((100 * one.count) / most, 0.5), height: 3, class: "fill" })))));
}
