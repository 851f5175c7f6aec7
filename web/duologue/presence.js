/**
 * How the watched users are. Unknown while there is no connection, and where the server does not tell.
 *
 * Of two states of a user the one with the higher `v` is the newer: within one connection nothing older is shown after it.
 * A new connection begins anew, because its server may count from somewhere else.
 */

/** @import { Presence } from "./protocol.js" */

import { DuologueError } from "./protocol.js";

const RETRY_MS = 2_000;
const STATUSES = new Set(["online", "away", "dnd", "offline", "unknown"]);

/**
 * @typedef {object} PresenceOptions
 * @property {(message: {type: "presence.watch", users: string[]}) => Promise<{presence: Presence[]}>} request
 * @property {(presence: Presence) => void} changed
 * @property {(user: string) => boolean} isHidden Nothing is shown of this user.
 */

export class PresenceWatch {
  /** @type {Set<string>} */
  #watched = new Set();
  /** @type {Map<string, Presence>} */
  #known = new Map();
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;

  /** @param {PresenceOptions} options */
  constructor(options) {
    this.options = options;
  }

  /**
   * Watch these users from now on, instead of those named before.
   * @param {Iterable<string>} users
   * @param {number} max What the server allows.
   */
  async watch(users, max) {
    const next = new Set([...new Set(users)].slice(0, max));
    if (next.size === this.#watched.size && [...next].every((user) => this.#watched.has(user))) return;
    this.#watched = next;
    if (next.size === 0) await this.#ask();
    else await this.renew();
  }

  /** Ask again: the connection is a new one, or the list is, or whom one may see. */
  async renew() {
    if (this.#watched.size) await this.#ask();
  }

  async #ask() {
    const turn = ++this.#turn;
    clearTimeout(this.#retry);
    try {
      const { presence } = await this.options.request({ type: "presence.watch", users: [...this.#watched] });
      if (turn !== this.#turn) return;
      const told = new Set(presence.map(({ user }) => user));
      for (const user of [...this.#known.keys()]) if (!told.has(user)) this.#forget(user);
      this.heard(presence);
    } catch (problem) {
      // Without a connection the next welcome renews.
      if (turn !== this.#turn || !(problem instanceof DuologueError) || !problem.temporary) return;
      this.#retry = setTimeout(() => void this.renew(), problem.retry_after_ms ?? RETRY_MS);
    }
  }

  /**
   * A push, or an answer.
   * @param {Presence[]} changes
   */
  heard(changes) {
    for (const each of changes) if (!this.options.isHidden(each.user)) this.#take(each);
  }

  /** @param {string} user @returns {Presence} */
  of(user) {
    return this.#known.get(user) ?? { user, status: "unknown", v: 0 };
  }

  /** Show nothing of this user any more. @param {string} user */
  hide(user) {
    if (this.#known.has(user)) this.#forget(user);
  }

  /** The connection is gone. */
  lost() {
    this.#turn += 1;
    clearTimeout(this.#retry);
    for (const user of [...this.#known.keys()]) this.#forget(user);
  }

  /** @param {Presence} told */
  #take(told) {
    const v = this.#known.get(told.user)?.v ?? 0;
    // "Unknown" has no version: it is news, but what was told before it stays the mark for what comes after.
    if (told.status === "unknown") this.#set({ user: told.user, status: "unknown", v });
    else if (!STATUSES.has(told.status)) this.#set({ ...told, status: "unknown" });
    else if (told.v >= v) this.#set(told);
  }

  /** @param {string} user */
  #forget(user) {
    this.#set({ user, status: "unknown", v: 0 });
    this.#known.delete(user);
  }

  /** @param {Presence} presence */
  #set(presence) {
    const known = this.of(presence.user);
    this.#known.set(presence.user, presence);
    const same =
      known.status === presence.status && known.last_seen === presence.last_seen && known.text === presence.text;
    if (!same) this.options.changed(presence);
  }
}
