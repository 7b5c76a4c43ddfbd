// Events per second over the last minutes, from the counts of the live tail. Pure.

export class RateSeries {
  #span;
  #counts = new Map(); // second -> events
  #known = []; // [from, to) in seconds, during which the tail was heard

  constructor(spanSeconds) {
    this.#span = spanSeconds;
  }

  // The tail is open at this second, and heard everything since the one before.
  hear(second, isOpening = false) {
    const last = this.#known.at(-1);
    if (!isOpening && last && second >= last[0]) last[1] = Math.max(last[1], second);
    else this.#known.push([second, second]);
    this.#forget(second);
  }

  // So many events came between two seconds; what came in a longer time is spread over it.
  add(from, to, events) {
    const first = Math.max(Math.min(from, to - 1), to - this.#span);
    for (let at = first; at < to; at += 1) {
      this.#counts.set(at, (this.#counts.get(at) ?? 0) + events / (to - first));
    }
    this.hear(to);
    const last = this.#known.at(-1);
    last[0] = Math.min(last[0], first);
  }

  // One value a second, oldest first, ending before `now`; null where nothing is known.
  values(now) {
    const isKnown = (at) => this.#known.some(([from, to]) => at >= from && at < to);
    return Array.from({ length: this.#span }, (_, index) => {
      const at = now - this.#span + index;
      return this.#counts.get(at) ?? (isKnown(at) ? 0 : null);
    });
  }

  // The mean of the last known seconds; NaN where none is known.
  rate(now, seconds = 10) {
    const known = this.values(now).filter((value) => value !== null).slice(-seconds);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : NaN;
  }

  #forget(now) {
    // Twice the span: one may look at the time before the last seconds, which are not told yet.
    const oldest = now - 2 * this.#span;
    for (const at of this.#counts.keys()) if (at < oldest) this.#counts.delete(at);
    this.#known = this.#known.filter(([, to]) => to >= oldest);
  }
}
