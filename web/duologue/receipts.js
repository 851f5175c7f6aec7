/** Receipts on their way out: the highest of each match, a few times a second at most. */

const HOLD_MS = 250;

export class Receipts {
  /** @type {Map<string, {delivered: number, read: number}>} */
  #due = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {(message: {type: "receipt", match: string, delivered?: number, read?: number}) => boolean} send False: not connected. */
  constructor(send) {
    this.send = send;
  }

  /**
   * Tell that `match` was delivered, or also read, up to `seq`.
   * @param {string} match
   * @param {"delivered" | "read"} kind
   * @param {number} seq
   */
  add(match, kind, seq) {
    const due = this.#due.get(match) ?? { delivered: 0, read: 0 };
    this.#due.set(match, { ...due, [kind]: Math.max(due[kind], seq) });
    this.#timer ??= setTimeout(() => this.flush(), HOLD_MS);
  }

  /** Send now what is due. What could not be sent is found missing at the next welcome. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [match, { delivered, read }] of this.#due) {
      // Read includes delivered.
      this.send({ type: "receipt", match, ...(delivered > read ? { delivered } : {}), ...(read ? { read } : {}) });
    }
    this.#due.clear();
  }

  /** Forget what is due. */
  clear() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due.clear();
  }
}
