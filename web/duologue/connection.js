/**
 * One lasting connection made of many short ones: gets a token, says hello, comes back after losses, matches answers to
 * requests. Knows nothing of matches and messages.
 *
 * Every attempt asks the token provider first, so a connection is never tried with a token known to be stale.
 */

/** @import { Push, Welcome } from "./protocol.js" */

import { Backoff } from "./backoff.js";
import { Liveness } from "./liveness.js";
import { comesBack, DuologueError } from "./protocol.js";

/**
 * @typedef {object} Status
 * @property {"connecting" | "online" | "offline" | "closed"} state `offline` comes back by itself, `closed` does not.
 * @property {number} [retry_at_ms] When the next attempt is due (as `Date.now()`), while `offline`.
 * @property {number} [code] WebSocket close code, when the server closed.
 * @property {string} [reason] What the server or the token provider said.
 */
/** @typedef {Record<string, unknown> & {type: string}} Outgoing */
/**
 * @typedef {object} ConnectionOptions
 * @property {string} url
 * @property {() => Promise<string> | string} token
 * @property {(url: string) => WebSocket} open Makes a socket.
 * @property {(token: string) => Promise<Record<string, unknown>>} hello The fields of `hello` beside token and id.
 * @property {(welcome: Welcome) => Promise<void>} welcomed Runs before any push of the new connection is handed out.
 * @property {(push: Push) => void} pushed
 * @property {(status: Status) => void} changed
 * @property {() => number} [random]
 */
/** @typedef {{resolve: (answer: never) => void, reject: (error: DuologueError) => void, timer: ReturnType<typeof setTimeout>}} Waiting */

const REQUEST_TIMEOUT_MS = 15_000;
/** Until the socket is open and `welcome` is there. */
const CONNECT_TIMEOUT_MS = 12_000;
/** While the browser says that there is no network: its word is not always true, so try all the same. */
const OFFLINE_RETRY_MS = 20_000;

export class Connection {
  /** @type {Status} */
  status = { state: "closed" };

  /** @type {WebSocket | undefined} */
  #socket;
  /** Rises with every attempt; what belongs to an older one is ignored. */
  #attempt = 0;
  #onlineSince = 0;
  #nextId = 1;
  /** The server asked not to come back before this. */
  #notBefore = 0;
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();
  /** @type {Push[] | undefined} Pushes that came while `welcomed` was running. */
  #held;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #connectTimer;

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #goingTimer;

  /** @param {ConnectionOptions} options */
  constructor(options) {
    this.options = options;
    this.backoff = new Backoff(options.random);
    this.liveness = new Liveness({
      ask: () => this.send({ type: "ping", id: this.#nextId++ }),
      dead: () => this.#lost({ reason: "no answer" }),
    });
  }

  get online() {
    return this.status.state === "online";
  }

  /** Connect now, whatever the waiting time was. */
  connect() {
    if (this.status.state === "online" || this.status.state === "connecting") return;
    this.#notBefore = 0;
    void this.#try();
  }

  /** Something changed for the better (tab shown, network back): do not sit out the back-off, and test a live socket. */
  wake() {
    if (this.online) this.liveness.probe();
    else if (this.status.state === "offline" && Date.now() >= this.#notBefore) void this.#try();
  }

  /** Something may have changed for the worse: test a live socket. */
  doubt() {
    if (this.online) this.liveness.probe();
  }

  /** End for good; `connect()` begins again. @param {string} [reason] */
  close(reason) {
    this.#drop(1000);
    this.#become(reason === undefined ? { state: "closed" } : { state: "closed", reason });
  }

  /**
   * Send without asking for an answer. Returns false when there is no connection.
   * @param {Outgoing} message
   */
  send(message) {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Send and wait for the answer. Throws `DuologueError`: the server's, or `offline`, or `timeout`.
   * @template Answer
   * @param {Outgoing} message Without `id`.
   * @returns {Promise<Answer>}
   */
  request(message) {
    if (!this.online) return Promise.reject(new DuologueError("offline", "not connected"));
    return this.#ask(message);
  }

  /**
   * Hand the server a fresh token before the old one ends.
   * @param {number} inMs
   */
  async refresh(inMs) {
    const attempt = this.#attempt;
    try {
      const token = await this.options.token();
      if (attempt === this.#attempt) await this.request({ type: "auth.refresh", token });
    } catch {
      // Try again while there is time; when there is none the server closes with 4001 and the next connect asks anew.
      const again = Math.min(5_000, inMs / 2);
      if (attempt !== this.#attempt || again < 500) return;
      setTimeout(() => attempt === this.#attempt && void this.refresh(inMs - again), again);
    }
  }

  /** @param {number} afterMs */
  goAway(afterMs) {
    this.#notBefore = Date.now() + afterMs;
    clearTimeout(this.#goingTimer);
    this.#goingTimer = setTimeout(() => this.#lost({ code: 4000, reason: "the server is being stopped" }), afterMs);
  }

  /**
   * @template Answer
   * @param {Outgoing} message
   * @returns {Promise<Answer>}
   */
  #ask(message) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new DuologueError("timeout", "no answer in time"));
        this.doubt();
      }, REQUEST_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      if (!this.send({ ...message, id })) this.#settle(id, new DuologueError("offline", "not connected"));
    });
  }

  async #try() {
    this.#drop(1000);
    const attempt = this.#attempt;
    this.#become({ state: "connecting" });
    this.#connectTimer = setTimeout(() => this.#lost({ reason: "no answer" }), CONNECT_TIMEOUT_MS);
    try {
      const token = await this.options.token();
      const fields = await this.options.hello(token);
      if (attempt === this.#attempt) this.#openSocket({ type: "hello", token, ...fields });
    } catch (error) {
      if (attempt !== this.#attempt) return;
      const reason = error instanceof Error ? error.message : String(error);
      if (error instanceof DuologueError && !error.temporary) this.close(reason);
      else this.#lost({ reason });
    }
  }

  /** @param {Outgoing} hello */
  #openSocket(hello) {
    const socket = this.options.open(this.options.url);
    this.#socket = socket;
    socket.onopen = () => {
      /** @type {Promise<Welcome>} */
      const welcome = this.#ask(hello);
      welcome.then(
        (answer) => this.#welcomed(answer, socket),
        (error) => socket === this.#socket && this.#refused(error),
      );
    };
    socket.onmessage = ({ data }) => this.#received(String(data));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
  }

  /**
   * @param {Welcome} welcome
   * @param {WebSocket} socket
   */
  async #welcomed(welcome, socket) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#connectTimer);
    this.#onlineSince = Date.now();
    this.liveness.start(welcome.timers);
    this.status = { state: "online" };
    try {
      await this.options.welcomed(welcome);
    } catch (error) {
      if (socket === this.#socket) this.#lost({ reason: String(error) });
      throw error; // a fault of ours: let the platform report it
    }
    if (socket !== this.#socket) return;
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const push of held) this.options.pushed(push);
    this.options.changed(this.status);
  }

  /** @param {string} text */
  #received(text) {
    this.liveness.heard();
    /** @type {Push & {id?: number, code?: string, message?: string, retry_after_ms?: number, stored?: "no" | "unknown", call?: string}} */
    const message = JSON.parse(text);
    if (message.id === undefined || message.id === null) {
      if (this.#held) this.#held.push(message);
      else this.options.pushed(message);
      return;
    }
    const type = /** @type {string} */ (message.type);
    if (type === "welcome") this.#held = []; // at once: what follows in the same read must wait for `welcomed`
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

  /** `hello` was refused; the server closes after it, with a code that says whether to come back. @param {DuologueError} error */
  #refused(error) {
    if (error.retry_after_ms !== undefined) this.#notBefore = Date.now() + error.retry_after_ms;
    this.status = { ...this.status, reason: error.message };
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #closed(code, reason) {
    const why = reason || this.status.reason;
    const cause = why ? { code, reason: why } : { code };
    if (comesBack(code)) {
      this.#lost(cause);
    } else {
      this.#drop(1000);
      this.#become({ state: "closed", ...cause });
    }
  }

  /** @param {{code?: number, reason?: string}} cause */
  #lost(cause) {
    const lived = this.#onlineSince ? Date.now() - this.#onlineSince : 0;
    this.#drop(4000);
    const told = this.#notBefore - Date.now();
    const noNetwork = globalThis.navigator?.onLine === false;
    const delay = told > 0 ? told : noNetwork ? OFFLINE_RETRY_MS : this.backoff.next(lived);
    this.#retryTimer = setTimeout(() => void this.#try(), delay);
    this.#become({ state: "offline", retry_at_ms: Date.now() + delay, ...cause });
  }

  /** Let go of the socket at once: a close handshake on a dead network takes minutes. @param {number} code */
  #drop(code) {
    this.#attempt += 1;
    this.liveness.stop();
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#goingTimer);
    this.#held = undefined;
    this.#onlineSince = 0;
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      if (socket.readyState < 2) socket.close(code);
    }
    for (const id of [...this.#waiting.keys()])
      this.#settle(id, new DuologueError("offline", "the connection was lost"));
  }

  /** @param {Status} status */
  #become(status) {
    this.status = status;
    this.options.changed(status);
  }
}
