/** How long to wait before connecting again. */

const FIRST_MS = 500;
const MAX_MS = 20_000;
/** A connection that lived this long ends the series of failures. */
const STABLE_MS = 10_000;

/** Exponential back-off with full jitter, so that clients that were cut together do not come back together. */
export class Backoff {
  #failures = 0;

  /** @param {() => number} random From 0 to below 1. */
  constructor(random = Math.random) {
    this.random = random;
  }

  /** Failed attempts in a row. */
  get failures() {
    return this.#failures;
  }

  /**
   * A connection ended, or an attempt failed (`livedMs` 0). Returns the milliseconds to wait.
   * @param {number} livedMs
   */
  next(livedMs) {
    if (livedMs >= STABLE_MS) this.#failures = 0;
    const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    return Math.round(this.random() * ceiling);
  }

  reset() {
    this.#failures = 0;
  }
}
