// Now, health, queue and destinations: one question to /api/ingestion/status answers all.

import { gauge } from "./chart.js";
import { badge, byId, foreign, make, say, time, told } from "./dom.js";
import { bytes, count, seconds } from "./format.js";
import { Panel } from "./panel.js";

const TONES = { ok: "ok", waits: "warn", degraded: "warn", error: "bad", unknown: "off" };
const QUEUE_TONES = { ok: "ok", degraded: "warn", full: "bad", unavailable: "bad" };
const BREAKER_TONES = { closed: "ok", half_open: "warn", open: "bad" };
const PARTS = [["pubsub_topic", "Queue"], ["worker", "Worker"], ["clickhouse", "Warehouse"]];
const EVERY_MS = 3_000;

export function statusPanels(context) {
  let asked = null;
  // Two panels show one answer: whoever asks second within a moment gets the first one's.
  const load = (api) => {
    if (!asked) {
      asked = api.get("/api/ingestion/status");
      const forget = () => setTimeout(() => { asked = null; }, EVERY_MS / 2);
      asked.then(forget, () => { asked = null; });
    }
    return asked;
  };
  return [
    new Panel("now", { everyMs: EVERY_MS, load, show: (status) => showNow(status, context), context }),
    new Panel("destinations", { everyMs: EVERY_MS, load, show: showDestinations, context }),
  ];
}

function showNow(status, context) {
  context.onStatus(status);
  const fresh = status.freshness_s;
  say(byId("fresh"), fresh ? seconds(fresh.p50) : "–");
  say(byId("fresh-note"), fresh
    ? `from received to visible, half of the last minute's events; 99 %: ${seconds(fresh.p99)}`
    : "Nothing was stored in the last minute.");
  showHealth(status.health);
  showQueue(status.queue);
}

function showHealth(health) {
  byId("health").replaceChildren(...PARTS.map(([key, name]) => {
    const part = health[key];
    return make("li", { "data-part": key },
      make("span", { class: "name" }, name),
      badge(TONES[part.state] ?? "off", part.state),
      make("span", { class: "muted small" }, "since ", time(part.since)),
      part.detail ? make("span", { class: "detail small" }, told(part.detail)) : null);
  }));
  const bad = PARTS.filter(([key]) => health[key].state !== "ok");
  say(byId("health-news"), bad.length
    ? `Health: ${bad.map(([key, name]) => `${name} ${health[key].state}`).join(", ")}.`
    : "Health: all three are ok.");
}

function showQueue(queue) {
  if (queue === null) {
    byId("gauges").replaceChildren(make("p", { class: "row" }, badge("bad", "no answer"),
      make("span", { class: "small" }, "The queue did not say how it is in time.")));
    return;
  }
  const rows = [];
  const share = (part) => (part.max_bytes ? part.stored_bytes / part.max_bytes : 0);
  const words = (part) => `${bytes(part.stored_bytes)} of ${bytes(part.max_bytes)}`;
  rows.push(make("p", { class: "row" },
    badge(QUEUE_TONES[queue.condition] ?? "off", queue.condition),
    queue.since ? make("span", { class: "muted small" }, "since ", time(queue.since)) : null));
  if (queue.detail) rows.push(make("p", { class: "small" }, told(queue.detail)));
  if (queue.max_bytes) rows.push(gauge("Stored", share(queue), words(queue)));
  if (queue.spool) {
    rows.push(gauge(queue.spool.is_in_use ? "Spool, in use" : "Spool", share(queue.spool), words(queue.spool)));
    const full = queue.spool.time_to_full_s;
    const notes = [
      queue.spool.oldest_age_s > 0 ? `oldest ${seconds(queue.spool.oldest_age_s)}` : "",
      Number.isFinite(full) ? `full in ${seconds(full)} at this rate` : "",
    ].filter(Boolean);
    if (notes.length) rows.push(make("p", { class: "muted small" }, notes.join("; ")));
  }
  byId("gauges").replaceChildren(...rows);
}

function showDestinations(status) {
  if (!status.destinations.length) {
    return "The worker has not said anything of its destinations. Is it running?";
  }
  byId("destination-rows").replaceChildren(...status.destinations.map((one) => {
    const wrong = [one.detail, ...one.troubles].filter(Boolean);
    return make("tr", { "data-destination": one.name },
      make("th", { scope: "row" }, foreign(one.name)),
      make("td", { "data-label": "State" }, badge(TONES[one.state] ?? "off", one.state)),
      make("td", { class: "number", "data-label": "Backlog" },
        one.backlog_events === null ? "not known" : count(one.backlog_events)),
      make("td", { class: "number", "data-label": "Oldest" },
        one.backlog_events === 0 ? "–" : seconds(one.oldest_age_s)),
      make("td", { "data-label": "Breaker" },
        badge(BREAKER_TONES[one.breaker] ?? "off", one.breaker.replace("_", "-"))),
      make("td", { class: "number", "data-label": "Parked" }, count(one.parked_events)),
      make("td", { "data-label": "What is wrong", class: "text" }, wrong.length
        ? make("ul", { class: "plain" }, ...wrong.map((text) => make("li", {}, told(text))))
        : make("span", { class: "muted" }, "nothing")));
  }));
  return "";
}
