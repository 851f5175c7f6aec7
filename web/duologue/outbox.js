/**
 * Messages on their way: kept in storage until the server says that they are stored, so that a reload loses none.
 *
 * One message is under way per match, in the order written, always with the same `client_id`, so that the server can tell
 * a repetition. Tabs of one user share the outbox; a lock per match keeps two of them from sending the same message.
 */

/** @import { Body, MessageEntry } from "./protocol.js" */
/** @import { OutboxItem, Storage } from "./storage.js" */

import { uuid7 } from "./ids.js";
import { withLock } from "./locks.js";
import { DuologueError } from "./protocol.js";

/**
 * @typedef {object} OutboxOptions
 * @property {Storage} storage
 * @property {string} scope
 * @property {(message: {type: string} & Record<string, unknown>) => Promise<{seq: number, created_at: number}>} request
 * @property {() => boolean} online
 * @property {(item: OutboxItem, answer: {seq: number, created_at: number}) => void} stored The message is in the log.
 * @property {(change: OutboxChange) => void} changed
 */
/** @typedef {{item: OutboxItem, state: "waiting" | "sending" | "failed" | "stored" | "discarded"}} OutboxChange */

const GIVE_UP_MS = 30 * 24 * 3_600_000;
const UNSENT_MAX = 1_000;
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** A fault of the server that hits one message again and again must not hold up those behind it for ever. */
const INTERNAL_MAX = 8;

export class Outbox {
  /** What this tab knows; storage decides. @type {Map<string, OutboxItem>} */
  #items = new Map();
  /** @type {Map<string, boolean>} Matches that are being sent to; true: look again before ending. */
  #running = new Map();
  /** @type {Map<string, number>} */
  #attempts = new Map();
  /** Items that are not (yet) in storage: being written, or storage refused them. @type {Set<string>} */
  #unkept = new Set();
  /** @type {BroadcastChannel | undefined} */
  #tabs;
  #ended = false;

  /** @param {OutboxOptions} options */
  constructor(options) {
    this.options = options;
    if (typeof BroadcastChannel === "function") {
      this.#tabs = new BroadcastChannel(`duologue.outbox ${options.scope}`);
      this.#tabs.onmessage = () => void this.reload();
      // Under Node a channel would keep the process alive.
      /** @type {{unref?: () => void}} */ (this.#tabs).unref?.();
    }
  }

  /** Read what is stored: at the start, and when another tab has changed it. */
  async reload() {
    const stored = await this.#stored();
    const now = new Map(stored.map((item) => [item.client_id, item]));
    for (const item of [...this.#items.values()]) {
      if (!now.has(item.client_id)) this.#forget(item, "discarded");
    }
    for (const item of stored) {
      const known = this.#items.get(item.client_id);
      this.#items.set(item.client_id, item);
      if (known?.state !== item.state) this.options.changed({ item, state: item.state });
    }
    this.run();
  }

  /**
   * The unsent messages of a match, or all of them, in the order written.
   * @param {string} [match]
   */
  items(match) {
    const items = [...this.#items.values()].filter((item) => match === undefined || item.match === match);
    return items.sort((a, b) => (a.order < b.order ? -1 : 1));
  }

  /**
   * Take a message for `match`; it is kept when the promise resolves. Throws `outbox_full`.
   * @param {string} match
   * @param {Body} body
   * @param {number} [replyTo]
   */
  async add(match, body, replyTo) {
    if (this.#items.size >= UNSENT_MAX) throw new DuologueError("outbox_full", `${UNSENT_MAX} messages are unsent`);
    const id = uuid7();
    /** @type {OutboxItem} */
    const item = { client_id: id, match, body, created_ms: Date.now(), order: id, state: "waiting" };
    if (replyTo !== undefined) item.reply_to = replyTo;
    await this.#keep(item);
    this.#run(match);
    return item;
  }

  /**
   * Send a failed message again, at the end of the queue.
   * @param {string} clientId
   */
  async retry(clientId) {
    const item = this.#items.get(clientId);
    if (item?.state !== "failed") return;
    const { error, ...rest } = item;
    const id = uuid7();
    // After these the old id stands for another message, or is too old to be recognised: it has to be a new one.
    const renew = error === "client_id_conflict" || error === "expired";
    if (renew) await this.discard(clientId);
    await this.#keep({
      ...rest,
      client_id: renew ? id : clientId,
      created_ms: renew ? Date.now() : item.created_ms,
      order: id,
      state: "waiting",
    });
    this.#run(item.match);
  }

  /**
   * Give up a message that was not sent.
   * @param {string} clientId
   */
  async discard(clientId) {
    const item = this.#items.get(clientId);
    if (!item) return;
    this.#forget(item, "discarded");
    await this.#quietly(this.options.storage.removeOutbox(this.options.scope, clientId));
    this.#tell();
  }

  /**
   * An entry of the log shows that a message was stored, though its `ok` got lost or went to another tab.
   * @param {MessageEntry} entry
   */
  seen(entry) {
    const item = this.#items.get(entry.client_id);
    if (!item || item.match !== entry.match) return;
    this.#forget(item, "stored");
    void this.#quietly(this.options.storage.removeOutbox(this.options.scope, item.client_id));
    this.#tell();
  }

  /** Send what waits; called when the connection is there. */
  run() {
    for (const match of new Set(this.items().map((item) => item.match))) this.#run(match);
  }

  end() {
    this.#ended = true;
    this.#tabs?.close();
  }

  /** @param {string} match */
  #run(match) {
    if (!this.options.online() || this.#ended) return;
    if (this.#running.has(match)) {
      this.#running.set(match, true);
      return;
    }
    void this.#sendAll(match);
  }

  /** @param {string} match */
  async #sendAll(match) {
    try {
      for (;;) {
        this.#running.set(match, false);
        const wait = await withLock(`duologue.send ${this.options.scope} ${match}`, () => this.#sendNext(match));
        if (wait === "done" && !this.#running.get(match)) return;
        if (typeof wait === "number") await new Promise((resolve) => setTimeout(resolve, wait));
        if (!this.options.online() || this.#ended) return;
      }
    } finally {
      this.#running.delete(match);
    }
  }

  /**
   * Send the first waiting message of a match. Returns what to do next: nothing, the next one, or wait so many ms.
   * @param {string} match
   * @returns {Promise<"done" | "next" | number>}
   */
  async #sendNext(match) {
    const item = (await this.#stored()).find((each) => each.match === match && each.state === "waiting");
    if (!item || !this.options.online() || this.#ended) return "done";
    if (Date.now() - item.created_ms > GIVE_UP_MS) {
      await this.#fail(item, "expired");
      return "next";
    }
    this.options.changed({ item, state: "sending" });
    const { client_id, body, reply_to } = item;
    const message = { type: "message.send", match, client_id, body };
    try {
      const answer = await this.options.request(reply_to === undefined ? message : { ...message, reply_to });
      await this.#quietly(this.options.storage.removeOutbox(this.options.scope, client_id));
      this.options.stored(item, answer);
      this.#forget(item, "stored");
      this.#tell();
      return "next";
    } catch (error) {
      return await this.#refused(item, error);
    }
  }

  /**
   * @param {OutboxItem} item
   * @param {unknown} error
   * @returns {Promise<"done" | "next" | number>}
   */
  async #refused(item, error) {
    if (!(error instanceof DuologueError)) throw error;
    if (error.code === "offline") return "done"; // the next welcome runs the outbox again
    if (error.code === "timeout") return RETRY_MS;
    const attempts = (this.#attempts.get(item.client_id) ?? 0) + 1;
    this.#attempts.set(item.client_id, attempts);
    if (!error.temporary || (error.code === "internal" && attempts >= INTERNAL_MAX)) {
      await this.#fail(item, error.code);
      return "next";
    }
    return error.retry_after_ms ?? Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** Math.min(attempts, 5));
  }

  /**
   * @param {OutboxItem} item
   * @param {string} code
   */
  async #fail(item, code) {
    await this.#keep({ ...item, state: "failed", error: code });
  }

  /** @param {OutboxItem} item */
  async #keep(item) {
    this.#items.set(item.client_id, item);
    this.#unkept.add(item.client_id);
    this.options.changed({ item, state: item.state });
    const kept = await this.#quietly(this.options.storage.putOutbox(this.options.scope, item));
    if (kept) this.#unkept.delete(item.client_id);
    this.#tell();
  }

  /**
   * @param {OutboxItem} item
   * @param {"stored" | "discarded"} state
   */
  #forget(item, state) {
    this.#attempts.delete(item.client_id);
    this.#unkept.delete(item.client_id);
    if (this.#items.delete(item.client_id)) this.options.changed({ item, state });
  }

  /** Storage can fail while we run (disk full, site data cleared): then this tab's memory has to do. */
  async #stored() {
    try {
      const stored = await this.options.storage.outbox(this.options.scope);
      const others = this.items().filter((item) => this.#unkept.has(item.client_id));
      const mine = new Set(others.map((item) => item.client_id));
      const all = [...stored.filter((item) => !mine.has(item.client_id)), ...others];
      return all.sort((a, b) => (a.order < b.order ? -1 : 1));
    } catch {
      return this.items();
    }
  }

  /**
   * Returns whether storage did it. If not, the message is still in memory and still sent; it would not survive a reload.
   * @param {Promise<void>} write
   */
  async #quietly(write) {
    try {
      await write;
      return true;
    } catch {
      return false;
    }
  }

  #tell() {
    if (!this.#ended) this.#tabs?.postMessage("changed");
  }
}
