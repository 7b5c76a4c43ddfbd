import assert from "node:assert/strict";
import { test } from "node:test";

import { aimOf, resultOf } from "../../../gateway/console/results.js";

const run = (type, outputs, more = {}) => ({ type, state: "succeeded", outputs, ...more });

test("a reconciliation says its own summary, and whether it adds up", () => {
  const summary = "demo, 2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z: everything adds up.";
  assert.deepEqual(resultOf(run("reconcile", { summary, is_balanced: true })),
    { tone: "ok", word: "adds up", text: summary });
  const early = { summary, is_balanced: true, is_final: false };
  assert.equal(resultOf(run("reconcile", early)).word, "adds up so far");
  assert.equal(resultOf(run("reconcile", { summary, is_balanced: false })).word, "does not add up");
});

test("a replay says how many were sent, or would be", () => {
  const outputs = { matching: 1_200, sent: false, rollups_recomputed: 0 };
  assert.equal(resultOf(run("replay", outputs)).text, "1,200 events would be sent. Nothing was.");
  assert.match(resultOf(run("replay", { ...outputs, rollups_recomputed: 1 })).text, /of 1 hour were recomputed/);
  const sent = { ...outputs, sent: true, delivered: 1_190, filtered: 4, refused: 6 };
  assert.deepEqual(resultOf(run("replay", sent)), {
    tone: "warn", word: "not all taken",
    text: "1,190 of 1,200 events delivered, 4 left out by the tenant's filter, 6 refused again.",
  });
});

test("an erasure says what was deleted and what is left", () => {
  const places = [{ deleted: 3, remaining: 0 }, { deleted: 1, remaining: 0 }];
  const found = resultOf(run("erase", { places, amplitude: { state: "asked", users: 1 } }));
  assert.equal(found.text, "4 rows deleted, 0 left. Amplitude was asked to delete 1 user.");
});

test("outputs that say nothing in words have no result", () => {
  for (const outputs of [null, {}, { summary: { a: 1 } }, { erased: true }]) {
    for (const type of ["erase", "reconcile", "arazzo.mine", "constructor"]) {
      assert.equal(resultOf(run(type, outputs)), null, `${type} ${JSON.stringify(outputs)}`);
    }
  }
  assert.equal(resultOf(run("replay", { matching: 1 }, { state: "failed" })), null);
  assert.equal(resultOf(run("arazzo.mine", { summary: "w".repeat(9_000) })).text.length, 1_001);
});

test("a mode is told in words, and only where there is another", () => {
  assert.equal(aimOf({ type: "replay", run_mode: "source" }), "counts only, sends nothing");
  assert.equal(aimOf({ type: "reconcile", run_mode: "full" }), "compares, and mends totals by hour that are wrong");
  assert.equal(aimOf({ type: "erase", run_mode: "full" }), "");
  assert.equal(aimOf({ type: "constructor", run_mode: "name" }), "");
});
