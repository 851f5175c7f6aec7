/** The server's half of a conversation, played by hand: a WebSocket double, and entries to send through it. */

/** @import { Entry, MessageEntry } from "../duologue/protocol.js" */
/** @import { DuologueEvents, DuologueOptions } from "../duologue.js" */

import assert from "node:assert/strict";
import { Duologue, MemoryStorage } from "../duologue.js";

/** @typedef {{type: string, id: number, match: string, client_id: string, body: {text: string}, cursors: Record<string, [number, number]>, [field: string]: unknown}} Sent */

export const NOW = 1_795_000_000_000_000;

/** @param {number} seq @param {string} [sender] @param {string} [match] @returns {MessageEntry} */
export function message(seq, sender = "bob", match = "m1") {
  const text = `text ${seq}`;
  return { type: "message", match, seq, created_at: NOW + seq, n: seq, sender, client_id: `c${seq}`, body: { text } };
}

/** @param {number} lastSeq @param {Record<string, unknown>} [more] */
export function summary(lastSeq, more = {}) {
  const members = ["alice", "bob"].map((user) => ({ user, delivered: 0, read: 0 }));
  const last = lastSeq ? message(lastSeq) : null;
  return { match: "m1", members, last_seq: lastSeq, last_at: NOW + lastSeq, unread: 0, last, ...more };
}

/** One connection as the server sees it. */
export class Socket {
  readyState = 0;
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void) | null} */
  onclose = null;
  /** The code that the client closed with. @type {number | undefined} */
  closedWith;
  /** @type {Sent[]} */
  inbox = [];
  /** @type {{type: string, found: (message: Sent) => void}[]} */
  #expected = [];

  /** Let the client's handshake succeed. */
  accept() {
    this.readyState = 1;
    this.onopen?.();
  }

  /** The client's call. @param {string} text */
  send(text) {
    /** @type {Sent} */
    const sent = JSON.parse(text);
    const index = this.#expected.findIndex(({ type }) => type === sent.type);
    if (index < 0) this.inbox.push(sent);
    else this.#expected.splice(index, 1)[0]?.found(sent);
  }

  /** The client's call. @param {number} [code] */
  close(code) {
    this.closedWith = code;
    this.readyState = 3;
  }

  /** Wait for the client's next message of this type. @param {string} type @returns {Promise<Sent>} */
  expect(type) {
    const index = this.inbox.findIndex((sent) => sent.type === type);
    if (index >= 0) return Promise.resolve(/** @type {Sent} */ (this.inbox.splice(index, 1)[0]));
    return new Promise((found) => this.#expected.push({ type, found }));
  }

  /** @param {object} push */
  push(push) {
    this.onmessage?.({ data: JSON.stringify(push) });
  }

  /** @param {Sent} request @param {object} [answer] */
  ok(request, answer = {}) {
    this.push({ type: "ok", id: request.id, ...answer });
  }

  /** @param {Sent} request @param {string} code @param {object} [more] */
  refuse(request, code, more = {}) {
    this.push({ type: "error", id: request.id, code, message: "refused", ...more });
  }

  /** The connection ends. @param {number} code */
  cut(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}

/** Answer `hello`. @param {Socket} socket @param {Sent} hello @param {object[]} matches @param {object} [more] */
export function greet(socket, hello, matches, more = {}) {
  const timers = { ping_after_ms: 25_000, ping_timeout_ms: 10_000, sync_delay_ms: 5, typing_expires_ms: 20 };
  const welcome = { type: "welcome", user: "alice", session: "s1", store_epoch: "e1", limits: {}, complete: true };
  socket.push({ ...welcome, id: hello.id, timers, matches, ...more });
}

/** A client, and a server that waits for its connections. */
export class Play {
  /** How many connections the client has made. */
  socketCount = 0;
  /** @type {Socket[]} */
  #opened = [];
  /** @type {((socket: Socket) => void)[]} */
  #waiting = [];

  /** @param {Partial<DuologueOptions>} [options] */
  constructor(options = {}) {
    this.storage = options.storage ?? new MemoryStorage();
    this.chat = new Duologue({
      url: "ws://test/ws",
      user: "alice",
      token: () => "token",
      storage: this.storage,
      open: () => this.#open(),
      ...options,
    });
  }

  /**
   * A client that is connected and welcomed; `pushes` come in the same read as `welcome`, which has `more`, too.
   * @param {object[]} [matches]
   * @param {{pushes?: object[], more?: object, options?: Partial<DuologueOptions>}} [how]
   */
  static async online(matches = [], { pushes, more, options } = {}) {
    const play = new Play(options);
    play.chat.connect();
    return { play, ...(await play.welcome(matches, pushes, more)) };
  }

  #open() {
    const socket = new Socket();
    this.socketCount += 1;
    const waiting = this.#waiting.shift();
    if (waiting) waiting(socket);
    else this.#opened.push(socket);
    return /** @type {WebSocket} */ (/** @type {unknown} */ (socket));
  }

  /** The client's next connection. @returns {Promise<Socket>} */
  socket() {
    const opened = this.#opened.shift();
    return opened ? Promise.resolve(opened) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Let the next connection be made and say hello. */
  async arrival() {
    const socket = await this.socket();
    socket.accept();
    return { socket, hello: await socket.expect("hello") };
  }

  /**
   * Accept the next connection and welcome it, with `pushes` in the same read.
   * @param {object[]} matches
   * @param {object[]} [pushes]
   * @param {object} [more]
   */
  async welcome(matches, pushes = [], more = {}) {
    const { socket, hello } = await this.arrival();
    const online = this.next("status", ({ state }) => state === "online");
    greet(socket, hello, matches, more);
    for (const push of pushes) socket.push(push);
    await online;
    return { socket, hello };
  }

  /**
   * The next event that fits.
   * @template {keyof DuologueEvents} Name
   * @param {Name} name
   * @param {(detail: DuologueEvents[Name]) => boolean} [fits]
   * @returns {Promise<DuologueEvents[Name]>}
   */
  next(name, fits = () => true) {
    return new Promise((resolve) => {
      const off = this.chat.on(name, (detail) => {
        if (!fits(/** @type {DuologueEvents[Name]} */ (detail))) return;
        off();
        resolve(/** @type {DuologueEvents[Name]} */ (detail));
      });
    });
  }

  /** The seqs that were told as entries from now on. */
  seqs() {
    /** @type {number[]} */
    const seqs = [];
    this.chat.on("entry", (entry) => void seqs.push(/** @type {Entry} */ (entry).seq));
    return seqs;
  }
}

/** @param {Entry[] | readonly Entry[]} entries */
export function texts(entries) {
  return entries.map((entry) => (entry.type === "message" ? entry.body.text : entry.type));
}

/** @param {object} actual @param {object} expected Fields that have to be there. */
export function includes(actual, expected) {
  assert.deepEqual({ ...actual, ...expected }, actual);
}

/**
 * A client that watches bob. `first`: how he is, told already; without it `asked` is still to be answered.
 * @param {{match?: object, first?: object}} [how]
 */
export async function watchingBob({ match = summary(0), first } = {}) {
  const { play, socket } = await Play.online([match]);
  void play.chat.watch(["bob"]);
  const asked = await socket.expect("presence.watch");
  if (first) {
    const told = play.next("presence");
    socket.ok(asked, { presence: [{ user: "bob", ...first }] });
    await told;
  }
  return { play, socket, asked };
}
