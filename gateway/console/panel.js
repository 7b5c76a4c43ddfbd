// A panel that keeps itself fresh, and says so when it is not.
//
// States: loading (nothing yet), shown, empty, failed (with a retry), and stale: what was shown
// before stays, with the time it is of.

import { Away, Refused } from "./api.js";
import { byId, make, say } from "./dom.js";
import { clock, seconds } from "./format.js";

const LATE_TIMES = 3;

export class Panel {
  #load;
  #show;
  #everyMs;
  #context;
  #section;
  #state;
  #body;
  #asOf;
  #timer = null;
  #round = 0;
  #shownAt = null;
  #text = "";
  #nothing = "";

  // `load(api)` returns data; `show(data)` shows it and returns a sentence where there is nothing.
  constructor(id, { everyMs, load, show, context }) {
    this.#load = load;
    this.#show = show;
    this.#everyMs = everyMs;
    this.#context = context;
    this.#section = byId(id);
    this.#state = this.#section.querySelector(".panel-state");
    this.#body = this.#section.querySelector(".panel-body");
    this.#asOf = this.#section.querySelector(".as-of");
    this.#section.setAttribute("aria-busy", "true");
    this.#body.hidden = true;
    this.#tell("Loading…");
    this.#shownAt = null;
    say(this.#asOf, "");
  }

  start() {
    this.refresh();
    return this;
  }

  // Asks now, whatever the clock says; what was under way is forgotten.
  async refresh() {
    clearTimeout(this.#timer);
    const round = (this.#round += 1);
    let pause = this.#everyMs;
    try {
      await this.#context.link.whenThere();
      if (round !== this.#round) return;
      const data = await this.#load(this.#context.api);
      if (round !== this.#round) return;
      this.#succeed(data);
    } catch (error) {
      if (round !== this.#round) return;
      pause = Math.max(pause, error.retryAfterMs ?? 0);
      this.#fail(error);
    }
    this.#timer = setTimeout(() => this.refresh(), pause);
  }

  // Called each second: a figure that is older than it should be, or that nobody can renew now, says
  // how old it is.
  tick(now) {
    if (this.#shownAt === null) return;
    const age = now - this.#shownAt;
    const isAway = this.#context.link.state === "away";
    const isStale = isAway || age > Math.max(this.#everyMs * LATE_TIMES, 10_000);
    this.#section.classList.toggle("stale", isStale);
    say(this.#asOf,
      isStale ? `as of ${clock(this.#shownAt)}, ${seconds(age / 1000)} ago` : "");
  }

  stop() {
    this.#round += 1;
    clearTimeout(this.#timer);
  }

  #succeed(data) {
    this.#shownAt = Date.now();
    this.#section.removeAttribute("aria-busy");
    // What did not change is left as it is, so that focus and selections stay.
    const text = JSON.stringify(data);
    if (text !== this.#text) {
      this.#text = text;
      this.#nothing = this.#show(data) || "";
    }
    this.#body.hidden = Boolean(this.#nothing);
    this.#tell(this.#nothing);
    this.tick(this.#shownAt);
  }

  #fail(error) {
    this.#section.removeAttribute("aria-busy");
    if (error instanceof Away) {
      this.#tell(this.#shownAt === null ? "Waiting for the gateway…" : "");
      return;
    }
    const text = error instanceof Refused
      ? this.#context.words.sentence(error)
      : "This could not be shown. Reload the page; if it stays, tell the operator.";
    const retry = make("button", { type: "button", onclick: () => this.#again() }, "Try again");
    this.#tell(text, retry);
    if (!(error instanceof Refused)) console.error(error);
  }

  #again() {
    this.#tell("Loading…");
    this.refresh();
  }

  #tell(text, ...more) {
    this.#state.hidden = !text;
    if (more.length) this.#state.replaceChildren(make("span", {}, text), ...more);
    else say(this.#state, text);
    this.#state.classList.toggle("failed", more.length > 0);
  }
}
