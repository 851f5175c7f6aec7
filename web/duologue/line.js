/**
 * One WebSocket to the server: matches answers to requests, hands out pushes in order. Knows nothing of coming back.
 *
 * Pushes behind a `welcome` wait until `release`, so that what it says is taken in before them.
 */

/** @import { Push } from "./protocol.js" */

import { DuologueError } from "./protocol.js";

/** @typedef {Record<string, unknown> & {type: string}} Outgoing */
/** @typedef {{message: Outgoing, resolve: (answer: never) => void, reject: (error: DuologueError) => void, timer: ReturnType<typeof setTimeout>}} Waiting */
/** @typedef {Push & {id?: number, code?: string, message?: string, retry_after_ms?: number, stored?: "no" | "unknown", call?: string}} Incoming */
/**
 * @typedef {object} LineOptions
 * @property {(line: Line) => void} opened
 * @property {(push: Push, line: Line) => void} pushed
 * @property {(line: Line) => void} heard Something came.
 * @property {(line: Line) => void} unanswered A request had no answer in time.
 * @property {(line: Line, code: number, reason: string) => void} closed By the other side, or by the network.
 */

const REQUEST_TIMEOUT_MS = 15_000;

export class Line {
  /** @type {Map<number, Waiting>} By id, in the order asked. */
  #waiting = new Map();
  #nextId = 1;
  /** @type {Push[] | undefined} */
  #held;

  /** @param {WebSocket} socket @param {LineOptions} options */
  constructor(socket, options) {
    this.socket = socket;
    this.options = options;
    socket.onopen = () => options.opened(this);
    socket.onmessage = ({ data }) => this.#received(String(data));
    socket.onclose = ({ code, reason }) => options.closed(this, code, reason);
  }

  get isOpen() {
    return this.socket.readyState === 1;
  }

  /**
   * Send without asking for an answer. Returns false when that cannot be done.
   * @param {Outgoing} message
   */
  send(message) {
    if (!this.isOpen) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Ask for a sign of life; whatever comes is one. */
  ping() {
    this.send({ type: "ping", id: this.#nextId++ });
  }

  /**
   * Send and wait for the answer. Throws `DuologueError`: the server's, or `offline`, or `timeout`.
   * @template Answer
   * @param {Outgoing} message Without `id`.
   * @returns {Promise<Answer>}
   */
  ask(message) {
    return new Promise((resolve, reject) => this.#ask(message, resolve, reject));
  }

  /** What `other` was asked and has not answered is asked here, in the same order. @param {Line} other */
  takeOver(other) {
    const asked = [...other.#waiting.values()];
    other.#waiting.clear();
    for (const { message, resolve, reject, timer } of asked) {
      clearTimeout(timer);
      this.#ask(message, resolve, reject);
    }
  }

  /** Hand out the pushes that came since `welcome`, and those that come from now on. */
  release() {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const push of held) this.options.pushed(push, this);
  }

  /** Let go at once, of requests too: a close handshake on a dead network takes minutes. @param {number} code */
  drop(code) {
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (socket.readyState < 2) socket.close(code);
    this.#held = undefined;
    for (const id of [...this.#waiting.keys()])
      this.#settle(id, new DuologueError("offline", "the connection was lost"));
  }

  /**
   * @param {Outgoing} message
   * @param {(answer: never) => void} resolve
   * @param {(error: DuologueError) => void} reject
   */
  #ask(message, resolve, reject) {
    const id = this.#nextId++;
    const timer = setTimeout(() => {
      this.#settle(id, new DuologueError("timeout", "no answer in time"));
      this.options.unanswered(this);
    }, REQUEST_TIMEOUT_MS);
    this.#waiting.set(id, { message, resolve, reject, timer });
    if (!this.send({ ...message, id })) this.#settle(id, new DuologueError("offline", "not connected"));
  }

  /** @param {string} text */
  #received(text) {
    this.options.heard(this);
    /** @type {Incoming} */
    const message = JSON.parse(text);
    if (message.id === undefined || message.id === null) {
      if (this.#held) this.#held.push(message);
      else this.options.pushed(message, this);
      return;
    }
    const type = /** @type {string} */ (message.type);
    if (type === "welcome") this.#held = []; // at once: what follows in the same read has to wait
    if (type === "error") {
      const { code = "internal", message: said = "", retry_after_ms, stored, call } = message;
      this.#settle(message.id, new DuologueError(code, said, { retry_after_ms, stored, call }));
    } else this.#settle(message.id, undefined, message);
  }

  /**
   * @param {number} id
   * @param {DuologueError | undefined} error
   * @param {object} [answer]
   */
  #settle(id, error, answer) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(error);
    else waiting.resolve(/** @type {never} */ (answer));
  }
}
