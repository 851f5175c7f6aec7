/** Who is writing: this user, told to the others at a gentle pace; the others, each until told otherwise or for a while. */

/** @typedef {{typing_interval_ms: number, typing_expires_ms: number}} TypingTimers */

export class Typing {
  /** @type {Map<string, {sentAt: number, idle: ReturnType<typeof setTimeout>}>} */
  #mine = new Map();
  /** @type {Map<string, Map<string, ReturnType<typeof setTimeout>>>} */
  #others = new Map();

  /**
   * @param {(message: {type: "typing", match: string, on: boolean}) => boolean} send
   * @param {(match: string) => void} changed The users writing in `match` are others now.
   * @param {() => TypingTimers} timers
   */
  constructor(send, changed, timers) {
    this.send = send;
    this.changed = changed;
    this.timers = timers;
  }

  /**
   * A key was pressed.
   * @param {string} match
   */
  pressed(match) {
    const { typing_interval_ms: interval } = this.timers();
    const mine = this.#mine.get(match);
    clearTimeout(mine?.idle);
    const due = !mine || Date.now() - mine.sentAt >= interval;
    if (due) this.send({ type: "typing", match, on: true });
    // A pause twice as long as the interval is a stop.
    const idle = setTimeout(() => this.stopped(match), 2 * interval);
    this.#mine.set(match, { sentAt: due ? Date.now() : mine.sentAt, idle });
  }

  /**
   * The message was sent, or the field was emptied.
   * @param {string} match
   */
  stopped(match) {
    const mine = this.#mine.get(match);
    if (!mine) return;
    clearTimeout(mine.idle);
    this.#mine.delete(match);
    this.send({ type: "typing", match, on: false });
  }

  /** @param {string} match */
  users(match) {
    return [...(this.#others.get(match)?.keys() ?? [])];
  }

  /**
   * @param {string} match
   * @param {string} user
   * @param {boolean} on
   */
  heard(match, user, on) {
    const users = this.#others.get(match) ?? new Map();
    const was = users.has(user);
    clearTimeout(users.get(user));
    users.delete(user);
    if (on) {
      users.set(
        user,
        setTimeout(() => this.heard(match, user, false), this.timers().typing_expires_ms),
      );
    }
    if (users.size) this.#others.set(match, users);
    else this.#others.delete(match);
    if (was !== on) this.changed(match);
  }

  /** The connection is gone: nobody is known to write, and others have to be told anew of us. */
  clear() {
    for (const { idle } of this.#mine.values()) clearTimeout(idle);
    this.#mine.clear();
    for (const [match, users] of [...this.#others])
      for (const user of [...users.keys()]) this.heard(match, user, false);
  }
}
