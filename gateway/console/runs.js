// Workflow runs: the newest, the steps of one, and a stop with a question before it.

import { Away, Refused } from "./api.js";
import { badge, byId, foreign, make, replaceKept, say, time, told } from "./dom.js";
import { moment, plural, seconds } from "./format.js";
import { Panel } from "./panel.js";
import { aimOf, resultOf } from "./results.js";

const PATH = "/api/workflow/runs";
const LIMIT = 20;
const EVERY_MS = 3_000;
export const READ_ONLY =
  "This token may only read. To stop or replay, sign in with one that has the scope runs, which `sluice token` gives unless it is told otherwise.";
const TONES = {
  scheduled: "off", started: "busy", "in progress": "busy", running: "busy", stopping: "warn",
  "up for retry": "warn", succeeded: "ok", failed: "bad", canceled: "off", skipped: "off",
};
const STOPPABLE = new Set(["scheduled", "started", "in progress"]);
const ENDED = new Set(["succeeded", "failed", "canceled"]);
// Types that succeed also with a result that somebody has to look at.
const WITH_RESULT = new Set(["reconcile", "replay", "erase"]);
const ASKED_AT_ONCE = 5;

const took = (one, from) =>
  one.ended_at ? seconds((moment(one.ended_at) - moment(from)) / 1000) : "–";

export class Runs {
  #context;
  #panel;
  #shown = null;
  #shownText = "";
  #timer = null;
  #round = 0;
  #results = new Map();

  constructor(context) {
    this.#context = context;
    this.#panel = new Panel("runs", {
      everyMs: EVERY_MS,
      load: (api) => this.#load(api),
      show: (found) => this.#showList(found),
      context,
    });
    byId("stop-cancel").onclick = () => byId("stop-dialog").close();
  }

  start() {
    this.#panel.start();
    if (this.#shown) this.#refreshOne();
    return this;
  }

  stop() {
    this.#panel.stop();
    this.#round += 1;
    clearTimeout(this.#timer);
  }

  refresh() {
    this.#panel.refresh();
    if (this.#shown) this.#refreshOne();
  }

  tick(now) {
    this.#panel.tick(now);
  }

  // Shows the steps of a run, such as one that was just started, and says so.
  open(runId, news = "") {
    this.#shown = runId;
    this.#shownText = "";
    byId("run-one").replaceChildren(make("p", { class: "muted" }, "Loading…"));
    byId("run-one").hidden = false;
    say(byId("run-news"), news);
    this.refresh();
  }

  #close() {
    const key = `run-${this.#shown}`;
    this.#shown = null;
    this.#round += 1;
    clearTimeout(this.#timer);
    byId("run-one").hidden = true;
    byId("run-one").replaceChildren();
    this.#panel.refresh();
    document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }

  async #load(api) {
    const found = await api.get(`${PATH}?limit=${LIMIT}&with_total=true`);
    await this.#learnResults(api, found.data);
    return found;
  }

  // The list has no outputs. What a run that ended came to stays, so each is asked once, a few in a round.
  async #learnResults(api, runs) {
    const known = this.#results;
    this.#results = new Map(runs.filter(({ id }) => known.has(id)).map(({ id }) => [id, known.get(id)]));
    const asked = runs.filter(({ id, state, type }) => state === "succeeded" && WITH_RESULT.has(type) && !this.#results.has(id));
    for (const { id } of asked.slice(0, ASKED_AT_ONCE)) {
      try {
        this.#results.set(id, resultOf(await api.get(`${PATH}/${encodeURIComponent(id)}?view=verbose`)));
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return; // another round
      }
    }
  }

  // A word beside "succeeded" where that alone would say that all is well.
  #caution(run) {
    const result = this.#results.get(run.id);
    return result?.word && result.tone !== "ok" ? make("div", { class: "small" }, badge("warn", result.word)) : null;
  }

  #showList(found) {
    if (!found.data.length) return "No runs yet. Replays, erasures, reconciliations and your own documents show here.";
    say(byId("runs-note"), found.total > found.data.length
      ? `The newest ${found.data.length} of ${plural(found.total, "run")}.` : `${plural(found.total, "run")}.`);
    replaceKept(byId("run-rows"), found.data.map((run) => make("tr", { "data-run": run.id },
      make("td", { "data-label": "State" }, badge(TONES[run.state] ?? "off", run.state), this.#caution(run)),
      make("th", { scope: "row", "data-label": "Run" }, foreign(run.name), make("div", { class: "muted small" }, make("code", {}, run.id), ` · ${run.type}`),
        run.error ? make("div", { class: "problem small" }, told(run.error.message)) : null),
      make("td", { "data-label": "Started" }, time(run.created_at)),
      make("td", { "data-label": "Took" }, took(run, run.created_at)),
      make("td", { "data-label": "By" }, run.principal_name ? foreign(run.principal_name) : make("span", { class: "muted" }, "–")),
      make("td", { "data-label": "Steps" }, make("button", {
        type: "button", class: "link", "data-key": `run-${run.id}`, "aria-label": `Steps of run ${run.id}`,
        onclick: () => this.open(run.id),
      }, "Steps")))));
    return "";
  }

  async #refreshOne() {
    clearTimeout(this.#timer);
    const round = (this.#round += 1);
    let isOver = false;
    try {
      await this.#context.link.whenThere();
      const run = await this.#context.api.get(`${PATH}/${encodeURIComponent(this.#shown)}?view=verbose`);
      if (round !== this.#round) return;
      isOver = ENDED.has(run.state);
      const text = JSON.stringify(run);
      if (text !== this.#shownText) this.#showOne(run);
      if (isOver) this.#context.runEnded();
      this.#shownText = text;
    } catch (error) {
      if (round !== this.#round) return;
      // A run that was started a moment ago may be unknown to another gateway for a second.
      if (error instanceof Refused && error.status !== 404) {
        byId("run-one").replaceChildren(make("p", { class: "problem" }, this.#context.words.sentence(error)), this.#closeButton());
      } else if (!(error instanceof Refused || error instanceof Away)) throw error;
    }
    if (!isOver) this.#timer = setTimeout(() => this.#refreshOne(), EVERY_MS);
  }

  #closeButton() {
    return make("button", { type: "button", "data-key": "run-close", onclick: () => this.#close() }, "Close");
  }

  #showOne(run) {
    const steps = run.task_instances.map((task) => make("li", {},
      badge(TONES[task.state] ?? "off", task.state), " ", foreign(task.label, "strong"),
      make("span", { class: "muted small" }, " ", time(task.started_at ?? task.created_at),
        task.ended_at ? `, took ${took(task, task.started_at ?? task.created_at)}` : ""),
      task.error ? make("div", { class: "problem small" }, told(task.error.message)) : null));
    const [aim, result] = [aimOf(run), resultOf(run)];
    const isStoppable = STOPPABLE.has(run.state);
    const mayStop = isStoppable && this.#context.session.mayRun;
    replaceKept(byId("run-one"), [
      make("h3", {}, "Run ", make("code", {}, run.id)),
      make("p", { class: "row" }, badge(TONES[run.state] ?? "off", run.state), foreign(run.name),
        aim ? make("span", { class: "muted small" }, aim) : null,
        run.range_from ? make("span", { class: "muted small" }, time(run.range_from), " to ", time(run.range_to)) : null),
      run.error ? make("p", { class: "problem" }, told(run.error.message),
        make("span", { class: "muted" }, run.error.attribution === "customer" ? " (yours to mend)" : " (often passes)")) : null,
      result ? make("p", { class: "row result" },
        result.word ? badge(result.tone, result.word) : null, told(result.text)) : null,
      steps.length ? make("ol", { class: "trace" }, ...steps) : make("p", { class: "muted" }, "No step has begun."),
      values("Inputs", run.inputs), values("Outputs", run.outputs),
      make("div", { class: "actions" },
        mayStop ? make("button", { type: "button", class: "danger", "data-key": "run-stop", onclick: () => this.#askStop(run) }, "Stop…") : null,
        isStoppable && !mayStop ? make("p", { class: "muted small" }, READ_ONLY) : null, this.#closeButton()),
    ].filter(Boolean));
  }

  #askStop(run) {
    say(byId("stop-text"), `${run.name} (${run.id}). The step that is running ends first; what it did stays done. A stopped run does not go on.`);
    say(byId("stop-problem"), "");
    const confirm = byId("stop-confirm");
    confirm.disabled = false;
    confirm.onclick = () => this.#stopRun(run.id);
    byId("stop-dialog").showModal();
    byId("stop-cancel").focus();
  }

  async #stopRun(runId) {
    byId("stop-confirm").disabled = true;
    try {
      await this.#context.api.post(`${PATH}/${encodeURIComponent(runId)}/stop`);
      byId("stop-dialog").close();
      say(byId("run-news"), `Run ${runId} was asked to stop.`);
      this.refresh();
    } catch (error) {
      byId("stop-confirm").disabled = false;
      say(byId("stop-problem"), problemOf(error, this.#context));
    }
  }
}

export function problemOf(error, { words }) {
  if (error instanceof Refused) return words.sentence(error);
  if (error instanceof Away) return "The gateway does not answer, so it is not known whether it was taken. Try again when it is back.";
  throw error;
}

function values(name, found) {
  if (!found || !Object.keys(found).length) return null;
  return make("details", {}, make("summary", { "data-key": `run-${name}` }, name),
    make("pre", { tabindex: "0", "aria-label": name }, JSON.stringify(found, null, 2)));
}
