/**
 * This user as the others are to see them: how they are shown, whom they blocked, whether somebody looks at this client.
 *
 * The server keeps all of it for all devices of the user, but for `state`, which belongs to this connection.
 */

/** @import { OwnPresence, Welcome } from "./protocol.js" */

/** @typedef {"active" | "inactive"} ClientState */
/** @typedef {Partial<OwnPresence>} PresenceWish What is left out stays as it is. */
/**
 * @typedef {object} MyselfOptions
 * @property {(message: {type: string} & Record<string, unknown>) => Promise<unknown>} request
 * @property {(message: {type: string} & Record<string, unknown>) => boolean} send
 * @property {() => boolean} online
 * @property {(presence: OwnPresence) => void} presenceChanged
 * @property {(user: string, on: boolean, isNews: boolean) => void} blockChanged Not `isNews`: a welcome told it, and all
 *   else that it told is of the same moment.
 */

export class Myself {
  /** @type {OwnPresence} */
  presence = Object.freeze({ status: "online", text: "", last_seen: "exact" });
  /** @type {Set<string>} */
  blocked = new Set();
  /** @type {ClientState} */
  state = "active";

  /** What the last hello said; the connection in use may still be the one before. @type {ClientState} */
  #said = "active";
  /** What the server was told on the connection in use. @type {ClientState} */
  #told = "active";

  /** @param {MyselfOptions} options */
  constructor(options) {
    this.options = options;
  }

  /** The fields for `hello`. */
  hello() {
    this.#said = this.state;
    return this.state === "inactive" ? { client_state: this.state } : {};
  }

  /** @param {Welcome} welcome */
  welcomed({ presence, blocked = [] }) {
    if (presence) this.shown(presence);
    for (const user of [...this.blocked]) if (!blocked.includes(user)) this.#block(user, false, false);
    for (const user of blocked) this.#block(user, true, false);
    this.#told = this.#said;
    this.#tellState(); // it may have changed since
  }

  /** @param {ClientState} state */
  setState(state) {
    this.state = state;
    this.#tellState();
  }

  #tellState() {
    if (this.state === this.#told || !this.options.online()) return;
    if (this.options.send({ type: "client_state", state: this.state })) this.#told = this.state;
  }

  /** @param {PresenceWish} wish */
  async setPresence({ status, text, last_seen }) {
    const wish = {
      ...(status === undefined ? {} : { status }),
      ...(text === undefined ? {} : { text }),
      ...(last_seen === undefined ? {} : { last_seen }),
    };
    await this.options.request({ type: "presence.set", ...wish });
    this.shown({ ...this.presence, ...wish });
  }

  /** How this user is shown now, as the server says. @param {OwnPresence} presence */
  shown({ status, text, last_seen }) {
    const { presence } = this;
    if (presence.status === status && presence.text === text && presence.last_seen === last_seen) return;
    this.presence = Object.freeze({ status, text, last_seen });
    this.options.presenceChanged(this.presence);
  }

  /**
   * @param {string} user
   * @param {boolean} on
   */
  async setBlocked(user, on) {
    await this.options.request({ type: on ? "block" : "unblock", user });
    this.blocks(user, on);
  }

  /**
   * `user` is blocked from now on, or not any more, as the server says.
   * @param {string} user
   * @param {boolean} on
   */
  blocks(user, on) {
    this.#block(user, on, true);
  }

  /** @param {string} user @param {boolean} on @param {boolean} isNews */
  #block(user, on, isNews) {
    if (this.blocked.has(user) === on) return;
    if (on) this.blocked.add(user);
    else this.blocked.delete(user);
    this.options.blockChanged(user, on, isNews);
  }

  /** Another user signs in: nothing of the former one holds. */
  reset() {
    this.presence = Object.freeze({ status: "online", text: "", last_seen: "exact" });
    this.blocked.clear();
  }
}
