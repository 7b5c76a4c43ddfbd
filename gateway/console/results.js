// What a run was for and what came of it, in words. Pure.
//
// Built-in workflows say so in their outputs; a document of the tenant's own may, as `summary`.

import { count, plural } from "./format.js";

const LONGEST = 1_000;
const COMPARES = "compares, and mends totals by hour that are wrong";
const AIMS = new Map([
  ["replay", {
    source: "counts only, sends nothing", refresh: "recomputes totals by hour, sends nothing", full: "sends",
  }],
  ["reconcile", { source: "compares only", refresh: COMPARES, full: COMPARES }],
]);

// What a run does in its mode; nothing where the workflow knows one mode only.
export const aimOf = (run) => AIMS.get(run.type)?.[run.run_mode] ?? "";

const cut = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

// An erasure of a person empties the outputs of runs that named it: then nothing is said.
function ofReplay({ matching, sent, delivered, filtered, refused, rollups_recomputed: hours }) {
  if (matching === undefined) return null;
  if (!sent) {
    const recomputed = hours ? ` The totals of ${plural(hours, "hour")} were recomputed.` : "";
    return { text: `${plural(matching, "event")} would be sent. Nothing was.${recomputed}` };
  }
  const others = [
    filtered ? `${count(filtered)} left out by the tenant's filter` : "",
    refused ? `${count(refused)} refused again` : "",
  ].filter(Boolean);
  return {
    tone: refused ? "warn" : "ok", word: refused ? "not all taken" : "all taken",
    text: `${count(delivered)} of ${plural(matching, "event")} delivered${others.map((one) => `, ${one}`).join("")}.`,
  };
}

function ofErase({ places, amplitude }) {
  if (!places) return null;
  const sum = (name) => places.reduce((all, one) => all + one[name], 0);
  const left = sum("remaining");
  const asked = amplitude?.state === "asked" ? `Amplitude was asked to delete ${plural(amplitude.users ?? 0, "user")}.`
    : "Amplitude was not asked.";
  return {
    tone: left ? "bad" : "ok", word: left ? "not all erased" : "erased",
    text: `${plural(sum("deleted"), "row")} deleted, ${count(left)} left. ${asked}`,
  };
}

const ofDataRequest = ({ records }) =>
  (records === undefined ? null : { text: `${plural(records, "record")} collected; the outputs name the file.` });

const OF_TYPE = new Map([
  ["replay", ofReplay], ["erase", ofErase], ["data-request", ofDataRequest],
]);

// {tone, word, text} of a run that succeeded; null where its outputs do not say.
export function resultOf(run) {
  const found = run.outputs;
  if (run.state !== "succeeded" || !found) return null;
  if (typeof found.summary === "string" && found.summary) {
    const text = cut(found.summary);
    if (run.type !== "reconcile") return { text };
    return found.is_balanced
      ? { tone: "ok", word: found.is_final === false ? "adds up so far" : "adds up", text }
      : { tone: "bad", word: "does not add up", text };
  }
  return OF_TYPE.get(run.type)?.(found) ?? null;
}
