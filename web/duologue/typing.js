/** Who is writing: this user, told to the others at a gentle pace; the others, each until told otherwise or for a while. */

/** @import { TypingKind } from "./protocol.js" */

/** @typedef {{typing_interval_ms: number, typing_expires_ms: number}} TypingTimers */
/** @typedef {{type: "typing", match: string, on: boolean, kind?: TypingKind}} TypingMessage */
/** @typedef {{sentAt: number, kind: TypingKind, idle: ReturnType<typeof setTimeout>}} Mine */
/** @typedef {Map<TypingKind, ReturnType<typeof setTimeout>>} Kinds What somebody does, each until its timer ends. */

export class Typing {
  /** @type {Map<string, Mine>} */
  #mine = new Map();
  /** By match, then by user. @type {Map<string, Map<string, Kinds>>} */
  #others = new Map();

  /**
   * @param {(message: TypingMessage) => boolean} send
   * @param {(match: string) => void} changed The users writing in `match`, or what they do, are others now.
   * @param {() => TypingTimers} timers
   */
  constructor(send, changed, timers) {
    this.send = send;
    this.changed = changed;
    this.timers = timers;
  }

  /**
   * A key was pressed, or recording goes on.
   * @param {string} match
   * @param {TypingKind} [kind]
   */
  pressed(match, kind = "text") {
    if (this.#mine.get(match)?.kind !== kind) this.stopped(match);
    const { typing_interval_ms: interval } = this.timers();
    const mine = this.#mine.get(match);
    clearTimeout(mine?.idle);
    const due = !mine || Date.now() - mine.sentAt >= interval;
    if (due) this.#tell(match, true, kind);
    // A pause twice as long as the interval is a stop.
    const idle = setTimeout(() => this.stopped(match), 2 * interval);
    this.#mine.set(match, { sentAt: due ? Date.now() : mine.sentAt, kind, idle });
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
    this.#tell(match, false, mine.kind);
  }

  /**
   * @param {string} match
   * @param {boolean} on
   * @param {TypingKind} kind
   */
  #tell(match, on, kind) {
    this.send({ type: "typing", match, on, ...(kind === "text" ? {} : { kind }) });
  }

  /**
   * Who does anything in `match`, or just this.
   * @param {string} match
   * @param {TypingKind} [kind]
   */
  users(match, kind) {
    const users = [...(this.#others.get(match) ?? [])];
    return users.filter(([, kinds]) => kind === undefined || kinds.has(kind)).map(([user]) => user);
  }

  /**
   * @param {string} match
   * @param {string} user
   * @param {boolean} on
   * @param {TypingKind} [kind]
   */
  heard(match, user, on, kind = "text") {
    const users = this.#others.get(match) ?? new Map();
    /** @type {Kinds} */
    const kinds = users.get(user) ?? new Map();
    const was = kinds.has(kind);
    clearTimeout(kinds.get(kind));
    kinds.delete(kind);
    if (on) {
      kinds.set(
        kind,
        setTimeout(() => this.heard(match, user, false, kind), this.timers().typing_expires_ms),
      );
    }
    if (kinds.size) users.set(user, kinds);
    else users.delete(user);
    if (users.size) this.#others.set(match, users);
    else this.#others.delete(match);
    if (was !== on) this.changed(match);
  }

  /**
   * A message of `user` came: whatever they did in `match` is done.
   * @param {string} match
   * @param {string} user
   */
  done(match, user) {
    for (const kind of [...(this.#others.get(match)?.get(user)?.keys() ?? [])]) this.heard(match, user, false, kind);
  }

  /** Nothing is shown of `user` any more. @param {string} user */
  silence(user) {
    for (const match of [...this.#others.keys()]) this.done(match, user);
  }

  /** The connection is another one, to a server that has not heard of us: the next key is told at once. */
  renew() {
    for (const mine of this.#mine.values()) mine.sentAt = 0;
  }

  /** The connection is gone: nobody is known to write, and others have to be told anew of us. */
  clear() {
    for (const { idle } of this.#mine.values()) clearTimeout(idle);
    this.#mine.clear();
    for (const [match, users] of [...this.#others]) for (const user of [...users.keys()]) this.done(match, user);
  }
}
