// The live tail: rates for "Now", and the list of events as they come.
//
// One stream without a filter gives the rates; a second one is open only while a filter is set.

import { Away, Refused } from "./api.js";
import { sparkLine } from "./chart.js";
import { byId, clockTime, foreign, make, say } from "./dom.js";
import { clock, count, moment, plural, rate, seconds } from "./format.js";
import { RateSeries } from "./series.js";

const MAX_ROWS = 200;
const MAX_NAMES = 8;
const RATE_SPAN_S = 300;
const TOLD_WITHIN_S = 2; // The tail looks once a second, so the newest second is not whole before.
const PATH = "/api/ingestion/tail";
const REOPEN_MS = 1_000;
const REFUSED_MS = 10_000;

const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

export class Tail {
  #context;
  #series = new RateSeries(RATE_SPAN_S);
  #skewMs = 0;
  #rates = null;
  #list = null;
  #filter = "";
  #isOpen = { rates: false, list: false };
  #problem = { rates: "", list: "" };
  #kept = [];
  #matched = 0;
  #since = 0;
  #isPaused = false;
  #heldBack = 0;

  constructor(context) {
    this.#context = context;
    byId("tail-pause").onclick = () => this.#togglePause();
    byId("tail-filter").onsubmit = (event) => {
      event.preventDefault();
      this.#setFilter();
    };
    byId("tail-clear").onclick = () => {
      byId("tail-filter").reset();
      this.#setFilter();
    };
  }

  start() {
    this.#restart();
    return this;
  }

  stop() {
    this.#rates?.abort();
    this.#list?.abort();
    this.#rates = this.#list = null;
  }

  // The server's clock, as far as it is known.
  heardClock(asOf) {
    const at = moment(asOf);
    if (Number.isFinite(at)) this.#skewMs = at - Date.now();
  }

  tick() {
    if (this.#isOpen.rates) this.#series.hear(this.#now());
    const now = this.#now() - TOLD_WITHIN_S;
    const values = this.#series.values(now);
    const known = values.filter((value) => value !== null);
    say(byId("rate"), this.#isOpen.rates ? rate(this.#series.rate(now)) : "–");
    const total = Math.round(known.reduce((sum, value) => sum + value, 0));
    const minutes = RATE_SPAN_S / 60;
    const isWhole = known.length === values.length;
    const period = isWhole ? `the last ${minutes} min` : `the ${seconds(known.length)} that this page has watched`;
    const most = known.length ? Math.max(...known) : 0;
    byId("rate-line").replaceChildren(sparkLine(values,
      `Events per second over ${period}: highest ${rate(most)}, ${plural(total, "event")} in all`));
    say(byId("rate-note"), known.length
      ? `${plural(total, "event")} in ${period}${isWhole ? "" : ", not shaded"}; highest ${rate(most)} in a second`
      : this.#problem.rates || (this.#isOpen.rates ? "Watching begins…" : "Waiting for the live tail…"));
    this.#tellState();
  }

  #now() {
    return Math.floor((Date.now() + this.#skewMs) / 1000);
  }

  #restart() {
    this.stop();
    this.#rates = new AbortController();
    let last = null;
    this.#follow(PATH, "rates", this.#rates.signal, {
      onOpen: (isResumed) => {
        if (!isResumed) last = null;
        this.#series.hear(this.#now(), true);
      },
      onBatch: (batch) => {
        this.heardClock(batch.as_of);
        const at = Math.floor(moment(batch.as_of) / 1000);
        this.#series.add(last ?? at - 1, at, batch.count);
        last = at;
        if (!this.#filter) this.#take(batch);
      },
    });
    this.#openList();
  }

  #openList() {
    this.#list?.abort();
    this.#list = null;
    this.#kept = [];
    this.#matched = 0;
    this.#heldBack = 0;
    this.#since = Date.now();
    byId("tail-rows").replaceChildren();
    if (this.#filter) {
      this.#list = new AbortController();
      this.#isOpen.list = false;
      this.#follow(`${PATH}?${this.#filter}`, "list", this.#list.signal, {
        onOpen: () => {}, onBatch: (batch) => this.#take(batch),
      });
    }
    this.#tellState();
  }

  // Reads a stream for as long as it is wanted, and opens it again where it left off.
  async #follow(path, name, signal, { onOpen, onBatch }) {
    const { api, link, words } = this.#context;
    let lastId = "";
    while (!signal.aborted) {
      let wait = REOPEN_MS;
      try {
        await link.whenThere();
        if (signal.aborted) return;
        await api.stream(path, {
          lastId,
          signal,
          onOpen: () => {
            this.#isOpen[name] = true;
            this.#problem[name] = "";
            onOpen(lastId !== "");
          },
          onEvent: (event) => {
            lastId = event.id || lastId;
            if (event.type === "events") onBatch(JSON.parse(event.data));
          },
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused) {
          this.#problem[name] = words.sentence(error);
          wait = Math.max(REFUSED_MS, error.retryAfterMs);
          if (error.status === 400) lastId = "";
        } else if (!(error instanceof Away)) {
          console.error(error);
          this.#problem[name] = "The live tail cannot be read.";
          lastId = "";
          wait = REFUSED_MS;
        }
      }
      this.#isOpen[name] = false;
      await pause(wait, signal);
    }
  }

  #take(batch) {
    this.#matched += batch.count;
    this.#kept = [...batch.events, ...this.#kept].slice(0, MAX_ROWS);
    if (this.#isPaused) {
      this.#heldBack += batch.count;
    } else {
      const body = byId("tail-rows");
      body.prepend(...batch.events.slice(0, MAX_ROWS).map((one) => this.#row(one)));
      while (body.rows.length > MAX_ROWS) body.lastElementChild.remove();
    }
    this.#tellState();
  }

  #row(one) {
    const names = Object.entries(one.payload ?? {});
    const shape = names.slice(0, MAX_NAMES).map(([name, type]) =>
      make("span", { class: "pair" }, foreign(name), " ", make("span", { class: "muted" }, String(type))));
    if (names.length > MAX_NAMES) shape.push(make("span", { class: "muted" }, `+${names.length - MAX_NAMES}`));
    return make("tr", { "data-event": one.event_id },
      make("td", { "data-label": "Received" }, clockTime(one.received_at)),
      make("td", { "data-label": "Event type" }, foreign(one.event_type)),
      make("td", { "data-label": "User" }, foreign(one.user_id)),
      make("td", { "data-label": "Source" }, foreign(one.source)),
      make("td", { "data-label": "Payload", class: "payload" }, ...(shape.length ? shape : [make("span", { class: "muted" }, "empty")])),
      make("td", { "data-label": "Receipt" },
        make("button", {
          type: "button", class: "link", "aria-label": `Receipt of event ${one.event_id}`,
          onclick: () => this.#context.lookUp(one.event_id),
        }, "Receipt")));
  }

  #togglePause() {
    this.#isPaused = !this.#isPaused;
    const button = byId("tail-pause");
    button.setAttribute("aria-pressed", String(this.#isPaused));
    if (!this.#isPaused) {
      this.#heldBack = 0;
      byId("tail-rows").replaceChildren(...this.#kept.map((one) => this.#row(one)));
    }
    this.#tellState();
  }

  #setFilter() {
    const query = new URLSearchParams();
    for (const [name, id] of [["event_type", "tail-type"], ["source", "tail-source"], ["user_id", "tail-user"]]) {
      if (byId(id).value.trim()) query.set(name, byId(id).value.trim());
    }
    this.#filter = query.toString();
    this.#openList();
  }

  #tellState() {
    const name = this.#filter ? "list" : "rates";
    const isEmpty = byId("tail-rows").rows.length === 0;
    const waiting = this.#filter ? "Waiting for an event that fits the filter…" : "Waiting for an event…";
    const empty = byId("tail-empty");
    say(empty, this.#problem[name] || (isEmpty ? (this.#isOpen[name] ? waiting : "Opening…") : ""));
    empty.hidden = !empty.textContent;
    empty.classList.toggle("failed", Boolean(this.#problem[name]));
    byId("tail-box").hidden = isEmpty;
    const state = !this.#isOpen[name] ? "not connected"
      : this.#isPaused ? `paused, ${count(this.#heldBack)} held back` : "live";
    say(byId("tail-state"), isEmpty ? state
      : `${state} · ${count(this.#matched)} since ${clock(this.#since)}, newest ${MAX_ROWS} kept`);
  }
}
