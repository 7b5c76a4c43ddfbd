import assert from "node:assert/strict";
import { test } from "node:test";

import { StreamReader } from "../../../gateway/console/sse.js";

const STREAM = [
  ": heartbeat\n\n", "id: a1\nevent: events\ndata: {\"count\":1}\n\n", ":\n\n",
  "event: events\nid:a2\ndata:one\ndata: two\n\n", "data: last\n\n", "data: unfinished\n",
].join("");
const EVENTS = [
  { type: "events", data: "{\"count\":1}", id: "a1" },
  { type: "events", data: "one\ntwo", id: "a2" },
  { type: "message", data: "last", id: "a2" },
];

const readIn = (pieces) => {
  const reader = new StreamReader();
  return pieces.flatMap((piece) => reader.push(piece));
};

test("events are the same whole and letter by letter", () => {
  assert.deepEqual(readIn([STREAM]), EVENTS);
  assert.deepEqual(readIn([...STREAM]), EVENTS);
});

test("events are the same with every end of line", () => {
  for (const end of ["\r\n", "\r"]) {
    const text = STREAM.replaceAll("\n", end);
    assert.deepEqual(readIn([text]), EVENTS);
    assert.deepEqual(readIn([...text]), EVENTS);
  }
});

test("a field that is not known and a line without a colon change nothing", () => {
  assert.deepEqual(readIn(["retry: 5\nfoo\ndata: x\n\n"]), [{ type: "message", data: "x", id: "" }]);
});

test("an event without an end is not kept for ever", () => {
  const reader = new StreamReader();
  assert.throws(() => {
    for (let at = 0; at < 20; at += 1) reader.push("x".repeat(100_000));
  }, RangeError);
});

test("many lines of data without an end are not kept for ever", () => {
  const reader = new StreamReader();
  assert.throws(() => {
    for (let at = 0; at < 20; at += 1) reader.push(`data: ${"x".repeat(100_000)}\n`);
  }, RangeError);
});
