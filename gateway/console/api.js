// The public API, and nothing else. The token lives in this object: never in storage or an address.

import { StreamReader } from "./sse.js";

const ANSWER_WITHIN_MS = 15_000;
const QUIET_STREAM_MS = 45_000;

// The server refused; `type` is its X-Error-Type.
export class Refused extends Error {
  constructor(status, type, message, retryAfterMs) {
    super(message);
    this.status = status;
    this.type = type;
    this.retryAfterMs = retryAfterMs;
  }
}

// Nobody answered: the gateway, or the network to it, is away.
export class Away extends Error {}

function wordsOf(body) {
  if (!body || typeof body !== "object") return "";
  if (typeof body.message === "string") return body.message;
  if (typeof body.detail === "string") return body.detail;
  return Object.values(body).flat().filter((one) => typeof one === "string").join(" ");
}

async function refusalOf(answer) {
  const body = await answer.json().catch(() => null);
  const wait = Number(answer.headers.get("Retry-After"));
  const text = wordsOf(body) || `The gateway answered with status ${answer.status}.`;
  return new Refused(answer.status, answer.headers.get("X-Error-Type") ?? "", text,
    Number.isFinite(wait) ? wait * 1000 : 0);
}

// A proxy says these when the gateway behind it is away.
const isFromProxy = (answer) =>
  [502, 503, 504].includes(answer.status) && !answer.headers.get("X-Error-Type");

export class Api {
  #token;
  #onEnd;
  #link;
  #stopped = new AbortController();

  // `onEnd` is told of a token that is no longer taken, `link` whether somebody answers.
  constructor(token, { onEnd, link }) {
    this.#token = token;
    this.#onEnd = onEnd;
    this.#link = link;
  }

  get(path, { signal } = {}) {
    return this.#json(path, { signal });
  }

  post(path, body, headers = {}) {
    return this.#json(path, {
      method: "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  // Reads a stream until it ends; `onEvent` gets each event, `onOpen` is called once it is open.
  async stream(path, { lastId, onOpen, onEvent, signal }) {
    const quiet = new AbortController();
    let timer = setTimeout(() => quiet.abort(), QUIET_STREAM_MS);
    try {
      const answer = await this.#ask(path, {
        headers: { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) },
        signal: AbortSignal.any([quiet.signal, signal]),
      });
      onOpen();
      const reader = new StreamReader();
      const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await pieces.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => quiet.abort(), QUIET_STREAM_MS);
        for (const event of reader.push(value)) onEvent(event);
      }
    } catch (error) {
      if (error instanceof Refused || error instanceof Away || signal.aborted) throw error;
      throw new Away("The stream broke off.");
    } finally {
      clearTimeout(timer);
      quiet.abort();
    }
  }

  // Forgets the token and ends everything under way.
  close() {
    this.#token = "";
    this.#stopped.abort();
  }

  async #json(path, options) {
    const within = AbortSignal.timeout(ANSWER_WITHIN_MS);
    const signals = [within, options.signal].filter(Boolean);
    const answer = await this.#ask(path, { ...options, signal: AbortSignal.any(signals) });
    try {
      return await answer.json();
    } catch {
      throw new Away("The answer broke off.");
    }
  }

  async #ask(path, options) {
    const signal = AbortSignal.any([options.signal, this.#stopped.signal]);
    let answer;
    try {
      answer = await fetch(path, {
        ...options,
        signal,
        headers: { ...options.headers, Authorization: `Bearer ${this.#token}` },
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      if (error?.name === "TimeoutError") {
        this.#link.doubt();
        throw new Refused(0, "", `There was no answer within ${ANSWER_WITHIN_MS / 1000} seconds.`, 0);
      }
      const isOurs = this.#stopped.signal.aborted || error?.name === "AbortError";
      if (!isOurs) this.#link.isAway();
      throw new Away(isOurs ? "It was ended." : "The gateway does not answer.");
    }
    if (isFromProxy(answer) || answer.headers.get("X-Error-Type") === "shutting_down") {
      this.#link.isAway();
      throw new Away("The gateway does not answer.");
    }
    this.#link.isThere();
    if (answer.ok) return answer;
    const refusal = await refusalOf(answer);
    if (refusal.status === 401 && !this.#stopped.signal.aborted) this.#onEnd(refusal);
    throw refusal;
  }
}
