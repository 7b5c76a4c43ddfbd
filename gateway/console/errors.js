// Recent errors, gathered by type: what it means, who must act, what to do.

import { byId, foreign, make, replaceKept, say, time } from "./dom.js";
import { count, plural } from "./format.js";
import { Panel } from "./panel.js";
import { plain } from "./words.js";

const LIMIT = 100;
const SHOWN_OF_TYPE = 20;

export function errorsPanel(context) {
  const open = new Set();
  return new Panel("errors", {
    everyMs: 5_000,
    load: (api) => api.get(`/api/ingestion/errors?limit=${LIMIT}`),
    show: (found) => showErrors(found, context, open),
    context,
  });
}

function showErrors(found, context, open) {
  if (!found.count) return "No errors in the last 30 days.";
  const byType = new Map();
  for (const one of found.results) {
    if (!byType.has(one.error_type)) byType.set(one.error_type, []);
    byType.get(one.error_type).push(one);
  }
  say(byId("errors-note"), found.count < LIMIT
    ? `${plural(found.count, "record")} of 30 days, by type.`
    : `The newest ${LIMIT} records, by type.`);
  replaceKept(byId("error-rows"), [...byType].map(([type, records]) => block(type, records, context, open)));
  return "";
}

function block(type, records, { words, lookUp }, open) {
  const times = records.reduce((sum, one) => sum + (one.occurrences ?? 1), 0);
  const details = make("details", { open: open.has(type) },
    make("summary", { "data-key": `error-${type}` }, `Show ${plural(records.length, "record")}`),
    make("ul", { class: "plain records" }, ...records.slice(0, SHOWN_OF_TYPE).map((one) => record(one, lookUp))));
  details.addEventListener("toggle", () => (details.open ? open.add(type) : open.delete(type)));
  const remedy = plain(words.remedy(type));
  return make("li", { "data-type": type },
    make("p", { class: "row" },
      make("strong", {}, words.title(type)), make("span", { class: "number strong" }, `${count(times)} ×`),
      make("code", { class: "muted small" }, type),
      make("span", { class: "muted small" }, "last ", time(records[0].ts))),
    make("p", {}, plain(words.meaning(type)) || foreign(records[0].detail)),
    remedy ? make("p", { class: "remedy" }, make("strong", {}, "Do: "), remedy,
      make("span", { class: "muted" }, ` (${words.actor(type)})`)) : null,
    details);
}

function record(one, lookUp) {
  const facts = [
    one.source ? `source ${one.source}` : "", one.user_id ? `user ${one.user_id}` : "",
    one.event_type ? `type ${one.event_type}` : "", one.request_id ? `request ${one.request_id}` : "",
    one.occurrences > 1 ? plural(one.occurrences, "time") : "",
  ].filter(Boolean).join(" · ");
  return make("li", {}, time(one.ts), " ", foreign(one.detail),
    facts ? make("div", { class: "muted small" }, foreign(facts)) : null,
    one.event_id
      ? make("button", { type: "button", class: "link", onclick: () => lookUp(one.event_id) }, "Receipt") : null);
}
