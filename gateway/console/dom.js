// Makes elements. Text becomes text nodes and nothing else, so nothing in it can become markup.

import { clock, moment, when } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// A time as people read it, with the whole of it for machines and on hover.
export function time(text) {
  const at = moment(text);
  if (!Number.isFinite(at)) return make("span", { class: "muted" }, "–");
  return make("time", { datetime: text, title: text }, when(at, Date.now()));
}

const UTC_TIME = /(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z)/;

// A sentence of Sluice's own: the times in it are told like all others on the page.
export function told(text) {
  const parts = String(text).split(UTC_TIME).map((part, index) =>
    (index % 2 && Number.isFinite(moment(part)) ? time(part) : part));
  return make("span", { dir: "auto", class: "foreign" }, ...parts);
}

// The same without the date, for lists of what happens now.
export const clockTime = (text) =>
  make("time", { datetime: text, title: text }, clock(moment(text)));

// Text of strangers: any direction, any length, on its own.
export const foreign = (text, tag = "span") =>
  make(tag, { dir: "auto", class: "foreign" }, String(text));

const SHAPES = { ok: "●", warn: "▲", bad: "■", off: "○", busy: "◐" };

// A state as a word with a shape before it: colour alone says nothing.
export const badge = (tone, word) =>
  make("span", { class: `badge ${tone}` },
    make("span", { class: "shape", "aria-hidden": "true" }, SHAPES[tone] ?? SHAPES.off), word);

// Sets text only where it changed, so that a live region speaks only of news.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Replaces the rows of a table's body, and keeps the focus where it was.
export function replaceKept(parent, children) {
  const key = document.activeElement?.dataset?.key;
  const isInside = key && parent.contains(document.activeElement);
  parent.replaceChildren(...children);
  if (isInside) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}
