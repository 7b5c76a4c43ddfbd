// Dead letters, and their replay as a run.

import { byId, foreign, make, replaceKept, say, time } from "./dom.js";
import { count, moment, plural } from "./format.js";
import { Panel } from "./panel.js";
import { READ_ONLY, problemOf } from "./runs.js";

const PAGE = 50;
const MAX_PAGES = 4;
const EVERY_MS = 10_000;
const REPLAYED = "amplitude";
const CONFIG = "cg-replay";

export class Letters {
  #context;
  #panel;
  #pages = 1;
  #shown = [];
  #isWhole = true;
  #key = "";

  constructor(context) {
    this.#context = context;
    this.#panel = new Panel("letters", {
      everyMs: EVERY_MS, load: (api) => this.#load(api), show: (found) => this.#show(found), context,
    });
    byId("letters-more").onclick = () => {
      this.#pages += 1;
      this.#panel.refresh();
    };
    byId("replay-open").onclick = () => this.#openReplay();
    byId("replay-cancel").onclick = () => byId("replay-dialog").close();
    byId("replay-form").onsubmit = (event) => {
      event.preventDefault();
      this.#startReplay();
    };
  }

  start() {
    this.#panel.start();
    return this;
  }

  stop() {
    this.#panel.stop();
  }

  refresh() {
    this.#panel.refresh();
  }

  tick(now) {
    this.#panel.tick(now);
  }

  async #load(api) {
    const letters = [];
    let token = null;
    let total = 0;
    for (let page = 0; page < this.#pages; page += 1) {
      const query = new URLSearchParams({ limit: PAGE, ...(token ? { next_token: token } : {}) });
      const found = await api.get(`/api/ingestion/dead-letters?${query}`);
      letters.push(...found.dead_letters);
      total = found.total;
      token = found.next_token;
      if (!token) break;
    }
    return { letters, total, isWhole: !token };
  }

  #show({ letters, total, isWhole }) {
    this.#shown = letters;
    this.#isWhole = isWhole;
    const mayReplay = letters.some((one) => one.destination === REPLAYED);
    byId("replay-open").hidden = !(mayReplay && this.#context.session.mayRun);
    if (!letters.length) return "No dead letters: no destination refused an event for good.";
    const notes = [
      letters.length < total ? `The newest ${count(letters.length)} of ${plural(total, "dead letter")}.` : `${plural(total, "dead letter")}.`,
      letters.some((one) => one.destination === "warehouse")
        ? "What the warehouse refused cannot be replayed: mend the cause, and send what you need again as a new event." : "",
      mayReplay && !this.#context.session.mayRun ? READ_ONLY : "",
    ];
    say(byId("letters-note"), notes.filter(Boolean).join(" "));
    byId("letters-more").hidden = isWhole || this.#pages >= MAX_PAGES;
    replaceKept(byId("letter-rows"), letters.map((one) => make("tr", { "data-letter": one.event_id },
      make("td", { "data-label": "Refused" }, time(one.dead_at)),
      make("td", { "data-label": "Destination" }, foreign(one.destination)),
      make("td", { "data-label": "Event type" }, foreign(one.event_type)),
      make("td", { "data-label": "Source" }, foreign(one.source)),
      make("td", { "data-label": "Why", class: "text" }, make("span", {}, make("strong", {}, this.#context.words.title(one.reason)), " ", foreign(one.detail))),
      make("td", { "data-label": "Event" }, !one.event_id ? make("span", { class: "muted" }, "no id") : make("button", {
        type: "button", class: "link", "data-key": `letter-${one.destination}-${one.event_id}`,
        "aria-label": `Receipt of event ${one.event_id}`, onclick: () => this.#context.lookUp(one.event_id),
      }, "Receipt")))));
    return "";
  }

  #openReplay() {
    const times = this.#shown.filter((one) => one.destination === REPLAYED)
      .map((one) => moment(one.received_at)).filter(Number.isFinite);
    const inSeconds = (at) => new Date(at).toISOString().replace(/\.\d+/, "");
    if (times.length) {
      byId("replay-from").value = inSeconds(Math.floor(Math.min(...times) / 1000) * 1000);
      byId("replay-to").value = inSeconds(Math.floor(Math.max(...times) / 1000) * 1000 + 1000);
    }
    byId("replay-type").value = "";
    say(byId("replay-problem"), "");
    say(byId("replay-note"), this.#isWhole ? "" : "Not all dead letters are listed; set the range yourself to reach older ones.");
    // The same key for the same question: a lost answer and a second click start one run.
    const random = crypto.getRandomValues(new Uint8Array(16));
    this.#key = `console-${Array.from(random, (one) => one.toString(16).padStart(2, "0")).join("")}`;
    byId("replay-dialog").showModal();
    byId("replay-cancel").focus();
  }

  async #startReplay() {
    const submit = byId("replay-form").querySelector("[type=submit]");
    const type = byId("replay-type").value.trim();
    submit.disabled = true;
    try {
      const run = await this.#context.api.post("/api/workflow/runs", {
        config_id: CONFIG,
        range_from: byId("replay-from").value.trim(),
        range_to: byId("replay-to").value.trim(),
        run_mode: byId("replay-form").querySelector("[name=mode]:checked").value,
        inputs: { dead_letters: true, ...(type ? { event_type: type } : {}) },
      }, { "Idempotency-Key": this.#key });
      byId("replay-dialog").close();
      this.#context.openRun(run.id, `Started run ${run.id}.`);
    } catch (error) {
      say(byId("replay-problem"), problemOf(error, this.#context));
    } finally {
      submit.disabled = false;
    }
  }
}
