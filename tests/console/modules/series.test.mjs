import assert from "node:assert/strict";
import { test } from "node:test";

import { RateSeries } from "../../../gateway/console/series.js";

test("nothing is known before the tail is open, and zero is known after", () => {
  const series = new RateSeries(5);
  assert.deepEqual(series.values(100), [null, null, null, null, null]);
  assert.ok(Number.isNaN(series.rate(100)));
  series.hear(97, true);
  series.hear(100);
  assert.deepEqual(series.values(100), [null, null, 0, 0, 0]);
  assert.equal(series.rate(100), 0);
});

test("events count in the second before they were told", () => {
  const series = new RateSeries(5);
  series.hear(99, true);
  series.add(99, 100, 7);
  assert.deepEqual(series.values(100), [null, null, null, null, 7]);
});

test("what came while nobody listened is spread over that time", () => {
  const series = new RateSeries(6);
  series.add(95, 96, 4);
  series.hear(100, true);
  series.add(96, 100, 8);
  assert.deepEqual(series.values(100), [null, 4, 2, 2, 2, 2]);
});

test("a gap that nobody told of stays a gap", () => {
  const series = new RateSeries(6);
  series.add(94, 95, 1);
  series.hear(98, true);
  series.hear(100);
  assert.deepEqual(series.values(100), [1, null, null, null, 0, 0]);
});

test("a gap longer than the span keeps its total within the span", () => {
  const series = new RateSeries(4);
  series.add(10, 100, 40);
  assert.equal(series.values(100).reduce((sum, value) => sum + value), 40);
});

test("what is older than the span is forgotten", () => {
  const series = new RateSeries(3);
  for (let at = 1; at <= 1_000; at += 1) series.add(at - 1, at, 1);
  assert.deepEqual(series.values(1_000), [1, 1, 1]);
  assert.equal(series.rate(1_000), 1);
});
