// The receipt of one event: where it is, and each step that it took.

import { Away, Refused } from "./api.js";
import { badge, byId, foreign, make, time, told } from "./dom.js";
import { plural } from "./format.js";
import { plain } from "./words.js";

const UNKNOWN = "event_unknown";
const TONES = {
  dead: "bad", parked: "warn", pending: "busy", delivered: "ok", filtered: "off", stored: "ok", off: "off",
};

export class Receipt {
  #context;
  #asked = 0;

  constructor(context) {
    this.#context = context;
    byId("receipt-form").onsubmit = (event) => {
      event.preventDefault();
      this.#ask();
    };
    this.clear();
  }

  // Looks an event up that is shown elsewhere on the page.
  async lookUp(eventId) {
    byId("receipt-id").value = eventId;
    byId("receipt-user").value = "";
    byId("receipt-anonymous").value = "";
    byId("receipt").scrollIntoView({ block: "nearest" });
    byId("receipt-id").focus();
    await this.#ask();
  }

  clear() {
    this.#asked += 1;
    for (const id of ["receipt-id", "receipt-user", "receipt-anonymous"]) byId(id).value = "";
    this.#tell("");
    byId("receipt-body").hidden = true;
  }

  async #ask() {
    const asked = (this.#asked += 1);
    const name = byId("receipt-id").value.trim();
    byId("receipt-body").hidden = true;
    if (!name) return this.#tell("Give the id of an event.");
    if (/^\.{1,2}$/.test(name)) return this.#tell("An event with this id cannot be asked for by address.");
    const query = new URLSearchParams();
    if (byId("receipt-user").value) query.set("user_id", byId("receipt-user").value);
    if (byId("receipt-anonymous").value) query.set("anonymous_id", byId("receipt-anonymous").value);
    this.#tell("Looking…");
    try {
      const found = await this.#context.api.get(`/api/ingestion/events/${encodeURIComponent(name)}?${query}`);
      if (asked === this.#asked) this.#show(found);
    } catch (error) {
      if (asked === this.#asked) this.#tell(...this.#problem(error));
    }
    return undefined;
  }

  #problem(error) {
    const { words } = this.#context;
    if (error instanceof Refused && error.type === UNKNOWN) {
      return [`${plain(words.meaning(UNKNOWN))} Ask again in a few seconds. If it was refused, `,
        make("a", { href: "#errors" }, "Recent errors"), " says why."];
    }
    if (error instanceof Refused) return [words.sentence(error)];
    if (error instanceof Away) return ["The gateway does not answer. Look it up again when it is back."];
    throw error;
  }

  #tell(...said) {
    const state = byId("receipt-state");
    state.replaceChildren(...said);
    state.hidden = !state.textContent;
  }

  #show(found) {
    this.#tell(told(found.summary));
    const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    const steps = found.trace.map((step) => make("li", {},
      step.at ? time(step.at) : make("span", { class: "muted" }, "time not noted"),
      make("strong", {}, ` ${step.step}`),
      step.destination ? make("span", { class: "muted" }, ` · ${step.destination}`) : null,
      make("div", {}, told(step.detail ?? ""))));
    const where = Object.entries(found.destinations).map(([name, one]) =>
      make("li", {}, make("span", { class: "name" }, name), badge(TONES[one.outcome] ?? "off", one.outcome),
        one.reason ? make("span", { class: "small" }, foreign(one.reason)) : null,
        one.detail ? make("span", { class: "detail small" }, told(one.detail)) : null));
    byId("receipt-body").replaceChildren(
      make("p", { class: "row" }, badge(TONES[found.state] ?? "off", found.state),
        found.duplicates ? make("span", { class: "muted small" }, `${plural(found.duplicates, "repeat")} by the client, counted once`) : null),
      make("dl", { class: "facts" },
        fact("Event id", make("code", {}, found.event_id)),
        fact("Type", foreign(found.event_type)), fact("User", foreign(found.user_id)),
        fact("Source", foreign(found.source)), fact("Received", time(found.received_at)),
        fact("Occurred", time(found.occurred_at))),
      make("h3", {}, "Destinations"), make("ul", { class: "rows" }, ...where),
      make("h3", {}, "Steps"), make("ol", { class: "trace" }, ...steps));
    byId("receipt-body").hidden = false;
  }
}
