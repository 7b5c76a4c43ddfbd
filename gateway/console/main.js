// Signs in, starts the panels, and ends it all again. The token is in memory only.

import { Api, Away, Refused } from "./api.js";
import { byId, make, say } from "./dom.js";
import { errorsPanel } from "./errors.js";
import { clock, offset, readToken, seconds } from "./format.js";
import { Letters } from "./letters.js";
import { Link } from "./link.js";
import { Receipt } from "./receipt.js";
import { Runs } from "./runs.js";
import { statsPanel } from "./stats.js";
import { statusPanels } from "./status.js";
import { Tail } from "./tail.js";
import { Words } from "./words.js";

const LEAVE_TAIL_AFTER_MS = 60_000;
const SOON_MS = 300_000;
const NEW_TOKEN = "Sign in with a new one: `sluice token demo` prints it.";
const ENDINGS = {
  token_expired: `Your token has expired. ${NEW_TOKEN}`,
  token_invalid: `The gateway does not take this token any more. ${NEW_TOKEN}`,
};

const link = new Link();
const blank = byId("panels").cloneNode(true);
let session = null;

function signedIn(api, token, status) {
  const context = {
    api,
    link,
    words: session.words,
    session: token,
    onStatus: (found) => {
      context.tail.heardClock(found.as_of);
      say(byId("who"), `${found.tenant} · ${found.version}`);
      const isWell = Object.values(found.health).every((part) => part.state === "ok");
      session.title = `${isWell ? "" : "▲ "}${found.tenant} – Sluice console`;
    },
    lookUp: (eventId) => context.receipt.lookUp(eventId),
    runEnded: () => context.letters.refresh(),
    openRun: (runId, news) => {
      context.runs.open(runId, news);
      byId("runs").scrollIntoView({ block: "start" });
      byId("runs-title").setAttribute("tabindex", "-1");
      byId("runs-title").focus();
    },
  };
  context.receipt = new Receipt(context);
  context.tail = new Tail(context);
  context.runs = new Runs(context);
  context.letters = new Letters(context);
  context.onStatus(status);
  session.parts = [
    ...statusPanels(context), statsPanel(context), errorsPanel(context), context.letters,
    context.runs, context.tail,
  ];
  for (const part of session.parts) part.start();
  tick();
}

async function signIn(text) {
  const token = readToken(text);
  if (token.problem) return tellProblem(token.problem);
  tellProblem("");
  const form = byId("sign-in-form");
  const button = form.querySelector("button");
  button.disabled = true;
  const words = new Words();
  const api = new Api(token.token, { onEnd: (refusal) => session && signOut(endingOf(refusal)), link });
  try {
    const status = await api.get("/api/ingestion/status");
    await words.load(api);
    byId("token").value = "";
    token.token = "";
    session = { api, words, parts: [], expiresAt: token.expiresAt, title: "" };
    for (const id of ["panels", "sections", "session", "who"]) byId(id).hidden = false;
    byId("sign-in").hidden = true;
    signedIn(api, token, status);
    byId("content").focus();
  } catch (error) {
    tellProblem(problemOf(error, words));
    byId("token").focus();
    if (!session) link.rest();
  } finally {
    button.disabled = false;
  }
  return undefined;
}

function problemOf(error, words) {
  if (error instanceof Away) return "The gateway does not answer. Try again in a moment.";
  if (!(error instanceof Refused)) throw error;
  if (error.type === "token_expired") return `This token has expired. ${NEW_TOKEN}`;
  if (error.type === "token_invalid") {
    return "The gateway does not take this token. Copy all of it, and take it from this Sluice: `sluice token demo`.";
  }
  return words.sentence(error);
}

const endingOf = (refusal) => ENDINGS[refusal.type] ?? `${refusal.message} ${NEW_TOKEN}`;

// Forgets the token and all that was shown with it.
function signOut(sentence) {
  for (const part of session?.parts ?? []) part.stop();
  session?.api.close();
  session = null;
  link.rest();
  byId("panels").replaceWith(blank.cloneNode(true));
  for (const id of ["sections", "session", "who"]) byId(id).hidden = true;
  say(byId("who"), "");
  byId("sign-in").hidden = false;
  document.title = "Sluice console";
  tellProblem(sentence);
  showLink();
  byId("token").value = "";
  byId("token").focus();
}

function tellProblem(text) {
  byId("sign-in-problem").replaceChildren(
    ...text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part)));
  byId("token").setAttribute("aria-invalid", String(Boolean(text)));
}

function showLink() {
  const notice = byId("link");
  const isAway = link.state === "away" && session !== null;
  notice.classList.toggle("shown", isAway);
  if (!isAway) return notice.replaceChildren();
  if (!notice.firstChild) {
    notice.append(
      make("span", {}, `The gateway has not answered since ${clock(link.awaySince)}. What is shown is of then. `),
      make("span", { id: "next-try", "aria-hidden": "true" }),
      make("button", { type: "button", onclick: () => link.tryNow() }, "Try now"));
  }
  const left = link.nextTryAt === null ? 0 : Math.ceil((link.nextTryAt - Date.now()) / 1000);
  return say(byId("next-try"), left > 0 ? `Next try in ${left} s.` : "Trying…");
}

function tick() {
  if (!session) return;
  const now = Date.now();
  for (const part of session.parts) part.tick(now);
  const left = session.expiresAt === null ? Infinity : session.expiresAt - now;
  const end = byId("session-end");
  say(end, left < SOON_MS ? `Token ends in ${seconds(Math.max(left, 0) / 1000)}`
    : Number.isFinite(left) ? `Token until ${clock(session.expiresAt)}` : "");
  end.classList.toggle("soon", left < SOON_MS);
  showLink();
  const title = link.state === "away" ? `■ No answer – ${session.title}` : session.title;
  if (document.title !== title) document.title = title;
}

// A page that nobody looks at asks nothing, and leaves its place at the tail after a minute.
let leaving = null;
document.addEventListener("visibilitychange", () => {
  if (!session) return;
  const [tail] = session.parts.slice(-1);
  const others = session.parts.slice(0, -1);
  clearTimeout(leaving);
  if (document.hidden) {
    for (const part of others) part.stop();
    leaving = setTimeout(() => { tail.stop(); leaving = null; }, LEAVE_TAIL_AFTER_MS);
  } else {
    for (const part of others) part.start();
    if (leaving === null) tail.start();
  }
});

link.addEventListener("change", () => {
  showLink();
  if (link.state === "there" && session) for (const part of session.parts) part.refresh?.();
});
byId("sign-in-form").onsubmit = (event) => {
  event.preventDefault();
  signIn(byId("token").value);
};
byId("sign-out").onclick = () => signOut("");
say(byId("zone"), offset(Date.now()));
byId("sign-in").hidden = false;
byId("token").focus();
setInterval(tick, 1_000);
