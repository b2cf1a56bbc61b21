/** The world, kept current over lost connections; says when it is not. */

import { ask } from "./api.js";
import { events } from "./events.js";

const STALE_MS = 4_000; // frames come each second
const GIVE_UP_MS = 10_000;
const SHORTEST_MS = 500;
const LONGEST_MS = 8_000;

/** Follows the stream; `onWorld` gets its sections, `onState` what is to be said of it. */
export class Live {
  #onWorld;
  #onState;
  #onRefused;
  #stopping = new AbortController();
  #heard = 0;
  #wait = SHORTEST_MS;
  #attempt = null;

  constructor({ onWorld, onState, onRefused }) {
    this.#onWorld = onWorld;
    this.#onState = onState;
    this.#onRefused = onRefused;
  }

  /** Follow until stopped. */
  async run() {
    const watch = setInterval(() => this.#look(), 1_000);
    this.#stopping.signal.addEventListener("abort", () => clearInterval(watch));
    while (!this.#stopping.signal.aborted) {
      const refusal = await this.#once();
      if (this.#stopping.signal.aborted) return;
      this.#onState({ kind: "away", since: this.#heard, why: refusal?.message });
      await this.#pause(this.#wait);
      this.#wait = Math.min(LONGEST_MS, 2 * this.#wait);
    }
  }

  /** Stop following. */
  stop() {
    this.#stopping.abort();
    this.#attempt?.abort();
  }

  async #once() {
    this.#attempt = new AbortController();
    try {
      const response = await ask("console/api/world/stream", { signal: this.#attempt.signal });
      for await (const { event, data } of events(response)) {
        if (event === "end") {
          this.#onRefused();
          return null;
        }
        this.#take(JSON.parse(data));
      }
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.#onRefused(error);
      return error.status ? error : null; // without one, there was no answer
    }
    return null;
  }

  #take(sections) {
    this.#heard = Date.now();
    this.#wait = SHORTEST_MS;
    this.#onWorld(sections);
    this.#onState({ kind: "live", since: this.#heard });
  }

  #look() {
    const silent = Date.now() - this.#heard;
    if (!this.#heard || silent < STALE_MS) return;
    this.#onState({ kind: silent > GIVE_UP_MS ? "away" : "stale", since: this.#heard });
    if (silent > GIVE_UP_MS) this.#attempt?.abort();
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms * (0.8 + 0.4 * Math.random()));
      this.#stopping.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()));
    });
  }
}
