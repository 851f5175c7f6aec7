/** Who of the watched users can be reached. Unknown while there is no connection. */

/** @import { Presence } from "./protocol.js" */

export class PresenceWatch {
  /** @type {string[]} */
  #watched = [];
  /** @type {Map<string, Presence>} */
  #known = new Map();
  #turn = 0;

  /**
   * @param {(message: {type: "presence.watch", users: string[]}) => Promise<{presence: Presence[]}>} request
   * @param {(presence: Presence) => void} changed
   */
  constructor(request, changed) {
    this.request = request;
    this.changed = changed;
  }

  /**
   * Watch these users from now on, instead of those named before.
   * @param {Iterable<string>} users
   * @param {number} max What the server allows.
   */
  async watch(users, max) {
    const next = [...new Set(users)].slice(0, max);
    if (next.length === this.#watched.length && next.every((user) => this.#watched.includes(user))) return;
    this.#watched = next;
    await this.renew();
  }

  /** Ask again: the connection is a new one, or the list is. */
  async renew() {
    const turn = ++this.#turn;
    if (!this.#watched.length) return;
    try {
      const { presence } = await this.request({ type: "presence.watch", users: this.#watched });
      if (turn !== this.#turn) return;
      const told = new Set(presence.map(({ user }) => user));
      for (const user of [...this.#known.keys()]) if (!told.has(user)) this.#set({ user, status: "unknown", v: 0 });
      this.heard(presence);
    } catch {
      // No connection: the next welcome renews.
    }
  }

  /**
   * A push. Of two states of a user the one with the higher `v` is the newer.
   * @param {Presence[]} changes
   */
  heard(changes) {
    for (const each of changes) if (each.v >= (this.#known.get(each.user)?.v ?? 0)) this.#set(each);
  }

  /** @param {string} user @returns {Presence} */
  of(user) {
    return this.#known.get(user) ?? { user, status: "unknown", v: 0 };
  }

  /** The connection is gone. */
  lost() {
    this.#turn += 1;
    for (const each of [...this.#known.values()]) this.#set({ ...each, status: "unknown", v: 0 });
  }

  /** @param {Presence} presence */
  #set(presence) {
    const known = this.#known.get(presence.user);
    this.#known.set(presence.user, presence);
    if (known?.status !== presence.status || known.last_seen !== presence.last_seen) this.changed(presence);
  }
}
