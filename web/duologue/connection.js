/**
 * One lasting connection made of many short ones: gets a token, says hello, comes back after losses. Sent away by a server
 * that is being stopped it connects elsewhere before it leaves. Knows nothing of matches and messages.
 *
 * Every attempt asks the token provider first, so a connection is never tried with a token known to be stale.
 */

/** @import { Outgoing } from "./line.js" */
/** @import { Push, Welcome } from "./protocol.js" */

import { Backoff } from "./backoff.js";
import { Line } from "./line.js";
import { Liveness } from "./liveness.js";
import { comesBack, DuologueError } from "./protocol.js";

/**
 * @typedef {object} Status
 * @property {"connecting" | "online" | "offline" | "closed"} state `offline` comes back by itself, `closed` does not.
 * @property {number} [retry_at_ms] When the next attempt is due (as `Date.now()`), while `offline`.
 * @property {number} [code] WebSocket close code, when the server closed.
 * @property {string} [reason] What the server or the token provider said.
 */
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

/** Until the socket is open and `welcome` is there. */
const CONNECT_TIMEOUT_MS = 12_000;
/** While the browser says that there is no network: its word is not always true, so try all the same. */
const OFFLINE_RETRY_MS = 20_000;
/** The server closes the line that was taken over from; until then what comes over it counts. */
const REPLACED_WITHIN_MS = 2_000;
const REPLACED = 4500;
/** What a server says of its own line, which is no news of one that was left. */
const OF_THE_LINE = new Set(["going_away", "token_expiring", "degraded"]);

export class Connection {
  /** @type {Status} */
  status = { state: "closed" };

  /** In use, or on its way to that. @type {Line | undefined} */
  #line;
  /** Is to take over from `#line`, which goes on meanwhile. @type {Line | undefined} */
  #next;
  /** Was taken over from, and may still say something. @type {Line | undefined} */
  #left;
  /** Rises with every attempt; what belongs to an older one is ignored. */
  #attempt = 0;
  /** The attempt that is getting a token to move with; 0: none. */
  #moving = 0;
  #onlineSince = 0;
  /** The server asked not to come back before this. */
  #notBefore = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #connectTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #moveTimer;
  /** While on the present line: a server may have closed that for the one that was to take its place. */
  #hasTriedToMove = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #leftTimer;

  /** @param {ConnectionOptions} options */
  constructor(options) {
    this.options = options;
    this.backoff = new Backoff(options.random);
    this.liveness = new Liveness({
      ask: () => this.#line?.ping(),
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
    return this.#line?.send(message) ?? false;
  }

  /**
   * Send and wait for the answer. Throws `DuologueError`: the server's, or `offline`, or `timeout`.
   * @template Answer
   * @param {Outgoing} message Without `id`.
   * @returns {Promise<Answer>}
   */
  request(message) {
    if (!this.online || !this.#line) return Promise.reject(new DuologueError("offline", "not connected"));
    return this.#line.ask(message);
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

  /** This server is being stopped: connect to another one in so many milliseconds, and leave. @param {number} afterMs */
  goAway(afterMs) {
    this.#notBefore = Date.now() + afterMs;
    this.#moveIn(afterMs);
  }

  // ---- coming

  async #try() {
    this.#drop(1000);
    const attempt = this.#attempt;
    this.#become({ state: "connecting" });
    this.#connectTimer = setTimeout(() => this.#lost({ reason: "no answer" }), CONNECT_TIMEOUT_MS);
    try {
      const hello = await this.#hello();
      if (attempt !== this.#attempt) return;
      this.#line = this.#open(hello, {
        welcomed: (welcome, line) => line === this.#line && this.#begin(welcome, line),
        refused: (error, line) => line === this.#line && this.#refused(error),
      });
    } catch (error) {
      if (attempt !== this.#attempt) return;
      const reason = error instanceof Error ? error.message : String(error);
      if (error instanceof DuologueError && !error.temporary) this.close(reason);
      else this.#lost({ reason });
    }
  }

  /** @returns {Promise<Outgoing>} */
  async #hello() {
    const token = await this.options.token();
    const fields = await this.options.hello(token);
    return { type: "hello", token, ...fields };
  }

  /**
   * @param {Outgoing} hello
   * @param {{welcomed: (welcome: Welcome, line: Line) => unknown, refused: (error: DuologueError, line: Line) => unknown}} outcome
   */
  #open(hello, { welcomed, refused }) {
    return new Line(this.options.open(this.options.url), {
      opened: (line) => {
        /** @type {Promise<Welcome>} */
        const welcome = line.ask(hello);
        welcome.then(
          (answer) => welcomed(answer, line),
          (error) => refused(error, line),
        );
      },
      pushed: (push, line) => {
        if (line === this.#line || !OF_THE_LINE.has(push.type)) this.options.pushed(push);
      },
      heard: (line) => line === this.#line && this.liveness.heard(),
      unanswered: (line) => line === this.#line && this.doubt(),
      closed: (line, code, reason) => this.#closed(line, code, reason),
    });
  }

  /**
   * @param {Welcome} welcome
   * @param {Line} line
   */
  async #begin(welcome, line) {
    clearTimeout(this.#connectTimer);
    const isNew = !this.online;
    this.#notBefore = 0;
    this.#hasTriedToMove = false;
    this.#onlineSince = Date.now();
    this.liveness.start(welcome.timers);
    this.status = { state: "online" };
    try {
      await this.options.welcomed(welcome);
    } catch (error) {
      if (line === this.#line) this.#lost({ reason: String(error) });
      throw error; // a fault of ours: let the platform report it
    }
    if (line !== this.#line) return;
    line.release();
    if (isNew) this.options.changed(this.status);
  }

  /** `hello` was refused; the server closes after it, with a code that says whether to come back. @param {DuologueError} error */
  #refused(error) {
    if (error.retry_after_ms !== undefined) this.#notBefore = Date.now() + error.retry_after_ms;
    this.status = { ...this.status, reason: error.message };
  }

  // ---- moving

  /** @param {number} afterMs */
  #moveIn(afterMs) {
    clearTimeout(this.#moveTimer);
    this.#moveTimer = setTimeout(() => void this.#move(), afterMs);
  }

  /** Connect elsewhere while the present line goes on, which it does if that fails. */
  async #move() {
    const attempt = this.#attempt;
    if (!this.online || this.#next || this.#moving === attempt) return;
    this.#moving = attempt;
    try {
      const hello = await this.#hello();
      if (attempt !== this.#attempt) return;
      this.#hasTriedToMove = true;
      this.#next = this.#open(hello, {
        welcomed: (welcome, line) => line === this.#next && this.#takeOver(welcome, line),
        refused: (_, line) => line === this.#next && this.#stay(true),
      });
      this.#connectTimer = setTimeout(() => this.#stay(true), CONNECT_TIMEOUT_MS);
    } catch {
      if (attempt === this.#attempt) this.#stay(true);
    } finally {
      if (this.#moving === attempt) this.#moving = 0;
    }
  }

  /** The other line is not to be had now. @param {boolean} again */
  #stay(again) {
    clearTimeout(this.#connectTimer);
    this.#next?.drop(4000);
    this.#next = undefined;
    if (again && this.#line?.isOpen) this.#moveIn(this.backoff.next(0));
    else if (again) this.#lost({ code: 4000, reason: "the server is being stopped" });
  }

  /**
   * What had no answer is asked on the new line; what still comes over the old one counts, until the server closes it.
   * @param {Welcome} welcome
   * @param {Line} line
   */
  #takeOver(welcome, line) {
    const old = this.#line;
    this.#attempt += 1;
    clearTimeout(this.#moveTimer);
    this.#dropLeft();
    this.#line = line;
    this.#next = undefined;
    this.#left = old;
    if (old) line.takeOver(old);
    this.#leftTimer = setTimeout(() => this.#dropLeft(), REPLACED_WITHIN_MS);
    return this.#begin(welcome, line);
  }

  #dropLeft() {
    clearTimeout(this.#leftTimer);
    // Not 1000, which is a goodbye: the user is still here.
    this.#left?.drop(4000);
    this.#left = undefined;
  }

  // ---- going

  /**
   * @param {Line} line
   * @param {number} code
   * @param {string} reason
   */
  #closed(line, code, reason) {
    if (line === this.#left) return this.#dropLeft();
    if (line === this.#next) return this.#stay(comesBack(code));
    const byOurselves = code === REPLACED && this.#hasTriedToMove;
    // Told sooner than the welcome of the line that it makes room for.
    if (line !== this.#line || (this.#next && byOurselves)) return;
    const why = reason || this.status.reason;
    const cause = why ? { code, reason: why } : { code };
    // That line may have fallen by now, and nobody else has taken over.
    if (comesBack(code) || byOurselves) {
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

  /** @param {number} code */
  #drop(code) {
    this.#attempt += 1;
    this.liveness.stop();
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#moveTimer);
    this.#stay(false);
    this.#dropLeft();
    this.#onlineSince = 0;
    const line = this.#line;
    this.#line = undefined;
    line?.drop(code);
  }

  /** @param {Status} status */
  #become(status) {
    this.status = status;
    this.options.changed(status);
  }
}
