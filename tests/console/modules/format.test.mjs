import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../../gateway/console/format.js";

const tokenOf = (claims) =>
  ["{}", JSON.stringify(claims), "x"].map((one) => Buffer.from(one).toString("base64url")).join(".");

test("a figure that is not known is a dash", () => {
  for (const tell of [format.count, format.rate, format.bytes, format.seconds]) {
    assert.equal(tell(NaN), "–");
    assert.equal(tell(null), "–");
  }
});

test("seconds are told in at most two units", () => {
  const told = [0, 0.0004, 0.04, 0.9949, 0.996, 9.94, 9.96, 59.6, 61, 3_600, 3_660, 86_400, 190_000];
  assert.deepEqual(told.map(format.seconds), [
    "0 s", "0 s", "40 ms", "995 ms", "1.0 s", "9.9 s", "10 s", "1 min", "1 min 1 s", "1 h",
    "1 h 1 min", "1 d", "2 d 4 h",
  ]);
});

test("bytes are told in binary units", () => {
  assert.deepEqual([0, 1023, 1024, 1_536, 104_857_600, 1_073_741_824].map(format.bytes),
    ["0 bytes", "1,023 bytes", "1.0 KiB", "1.5 KiB", "100 MiB", "1.0 GiB"]);
});

test("a rate below ten has a decimal, and is never zero unless it is", () => {
  assert.deepEqual([0, 0.01, 0.1, 3.26, 12.4, 35_504].map(format.rate),
    ["0", "< 0.1", "0.1", "3.3", "12", "35,504"]);
});

test("a time of the API is read with any number of decimals", () => {
  const at = Date.UTC(2026, 3, 25, 14, 32, 1);
  for (const decimals of ["", ".2", ".204", ".204511", ".204511000"]) {
    const found = format.moment(`2026-04-25T14:32:01${decimals}Z`);
    assert.equal(found, at + (decimals ? (decimals === ".2" ? 200 : 204) : 0));
  }
  assert.ok(Number.isNaN(format.moment(null)));
});

test("a scale ends at or above the highest value, at most twice as high", () => {
  for (const value of [1, 3, 7, 99, 101, 502, 376, 1_001, 123_456]) {
    const top = format.niceTop(value);
    assert.ok(top >= value && top <= 2 * value, `${value}: ${top}`);
  }
  assert.equal(format.niceTop(0), 1);
});

test("a pasted token is read, whatever stands around it", () => {
  const token = tokenOf({ tenant: "demo", exp: 1_800_000_000, scope: "read runs", name: "Zoë" });
  for (const text of [token, `  ${token}\n`, `Bearer ${token}`, `Authorization: Bearer ${token}`]) {
    const read = format.readToken(text);
    assert.deepEqual(read, { token, expiresAt: 1_800_000_000_000, mayRun: true });
  }
});

test("a token may run what its scope says, and without one everything", () => {
  assert.equal(format.readToken(tokenOf({ scope: "read" })).mayRun, false);
  assert.equal(format.readToken(tokenOf({ scope: 7 })).mayRun, false);
  assert.equal(format.readToken(tokenOf({})).mayRun, true);
  assert.equal(format.readToken(tokenOf({})).expiresAt, null);
});

test("what is no token is answered with what it is instead", () => {
  assert.match(format.readToken("").problem, /Paste a token/);
  assert.match(format.readToken("sk_live_abc").problem, /API key/);
  for (const text of ["abc", "a.b", "a.b.c", "a.bnVsbA.c", "a.%.c", `${tokenOf({})}…`]) {
    assert.match(format.readToken(text).problem, /not a whole token/, text);
  }
});
