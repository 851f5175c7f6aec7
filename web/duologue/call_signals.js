/**
 * Signals between two seats: numbered and kept by their sender, put in order and freed of repetitions by their receiver.
 *
 * The server stores no signal. What a lost socket or a dead node swallowed is sent again by the one who made it.
 */

/** @import { Signal } from "./call_types.js" */

/** @typedef {Signal & {n: number}} Numbered */

/** As many are kept for sending again; older ones belong to negotiations long settled. */
const KEPT_MAX = 128;
/** As many may wait for one that is late. */
const HELD_MAX = 64;

export class SentSignals {
  /** @type {Map<number, {signal: Numbered, relayed: boolean}>} */
  #kept = new Map();
  #last = 0;

  /** Number a signal and keep it. @param {Signal} signal @returns {Numbered} */
  add(signal) {
    this.#last += 1;
    const numbered = { ...signal, n: this.#last };
    this.#kept.set(this.#last, { signal: numbered, relayed: false });
    if (this.#kept.size > KEPT_MAX) this.#kept.delete(this.#last - KEPT_MAX);
    return numbered;
  }

  /** The server has handed it on. @param {number} n */
  relayed(n) {
    const kept = this.#kept.get(n);
    if (kept) kept.relayed = true;
  }

  /** What the server never confirmed, oldest first. */
  unconfirmed() {
    return [...this.#kept.values()].filter(({ relayed }) => !relayed).map(({ signal }) => signal);
  }

  /** What the other side does not hold, oldest first. @param {number} have */
  after(have) {
    return [...this.#kept.values()].filter(({ signal }) => signal.n > have).map(({ signal }) => signal);
  }
}

export class ReceivedSignals {
  /** Everything up to this one was taken in. */
  have = 0;
  /** @type {Map<number, Numbered>} */
  #held = new Map();

  /** One or more are missing before those that are here. */
  get hasGap() {
    return this.#held.size > 0;
  }

  /** Take in a signal; returns those that can be applied now, in order. @param {Numbered} signal @returns {Numbered[]} */
  offer(signal) {
    if (signal.n <= this.have) return [];
    if (this.#held.size < HELD_MAX || signal.n === this.have + 1) this.#held.set(signal.n, signal);
    /** @type {Numbered[]} */
    const ready = [];
    for (;;) {
      const next = this.#held.get(this.have + 1);
      if (!next) return ready;
      this.#held.delete(next.n);
      this.have = next.n;
      ready.push(next);
    }
  }
}
