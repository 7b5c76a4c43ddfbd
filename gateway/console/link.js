// Whether the gateway answers. While it does not, one small question goes out with growing pauses,
// and everybody else waits for its answer instead of asking too.

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;
const READY_WITHIN_MS = 5_000;

export class Link extends EventTarget {
  state = "there";
  awaySince = null;
  nextTryAt = null;
  #timer = null;
  #pause = FIRST_PAUSE_MS;

  isThere() {
    if (this.state === "there") return;
    clearTimeout(this.#timer);
    this.state = "there";
    this.awaySince = null;
    this.nextTryAt = null;
    this.#pause = FIRST_PAUSE_MS;
    this.dispatchEvent(new Event("change"));
  }

  isAway() {
    if (this.state === "away") return;
    this.state = "away";
    this.awaySince = Date.now();
    this.#later();
  }

  // One question was not answered in time: asks whether anything is.
  async doubt() {
    if (this.state === "there" && !(await this.#isReady())) this.isAway();
  }

  tryNow() {
    if (this.state !== "away") return;
    clearTimeout(this.#timer);
    this.#try();
  }

  // Forgets that it waits, for when nobody is signed in.
  rest() {
    clearTimeout(this.#timer);
    this.state = "there";
    this.awaySince = null;
    this.#pause = FIRST_PAUSE_MS;
  }

  // Resolves at once while somebody answers, else as soon as somebody does.
  whenThere() {
    if (this.state === "there") return Promise.resolve();
    return new Promise((resolve) => {
      const check = () => {
        if (this.state !== "there") return;
        this.removeEventListener("change", check);
        resolve();
      };
      this.addEventListener("change", check);
    });
  }

  #later() {
    // Spread a little, so that many consoles do not ask at the same moment.
    const pause = this.#pause * (0.8 + 0.4 * Math.random());
    this.nextTryAt = Date.now() + pause;
    this.#timer = setTimeout(() => this.#try(), pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    this.dispatchEvent(new Event("change"));
  }

  async #try() {
    this.nextTryAt = null;
    this.dispatchEvent(new Event("change"));
    const isReady = await this.#isReady();
    if (this.state !== "away") return;
    if (isReady) this.isThere();
    else this.#later();
  }

  async #isReady() {
    try {
      // The page itself: whoever could open it can ask for it, also where /readyz is for operators.
      const answer = await fetch("/", {
        method: "HEAD", cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(READY_WITHIN_MS),
      });
      return answer.ok;
    } catch {
      return false;
    }
  }
}
