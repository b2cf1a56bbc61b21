/** Requests per second, from the counters that servers report. */

const KEPT = 120;
const WINDOW_MS = 5_500; // a rate is that of so long: servers report once a second

/** Keeps the last two minutes of all models' rate, and the last rate of each. */
export class Rates {
  #past = [];
  points = [];
  models = new Map();

  /** Take the loads of a moment. */
  take(loads, at) {
    if (this.#past.length && at - this.#past.at(-1).at < 900) return;
    const now = new Map(loads.map((each) => [`${each.model} ${each.colo}`, each]));
    const [first] = (this.#past = this.#past.filter((each) => at - each.at <= WINDOW_MS));
    this.#past.push({ at, loads: now });
    if (!first) return;
    const seconds = (at - first.at) / 1000;
    this.models = new Map();
    for (const [key, each] of now) {
      const known = first.loads.get(key)?.arrivals ?? each.arrivals;
      const rate = Math.max(0, each.arrivals - known) / seconds; // fewer: its server is a new one
      this.models.set(each.model, (this.models.get(each.model) ?? 0) + rate);
    }
    this.points = [...this.points, { at, value: this.now }].slice(-KEPT);
  }

  /** Requests per second of the last seconds, all models together. */
  get now() {
    return [...this.models.values()].reduce((sum, rate) => sum + rate, 0);
  }
}
