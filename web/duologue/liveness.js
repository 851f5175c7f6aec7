/**
 * Notices a connection that died without telling. Browsers answer the server's ping frames by themselves and do not show
 * them, so the client asks with a message of its own when it has heard nothing for a while.
 *
 * Timers of background tabs are throttled and machines sleep: a timer that comes late proves nothing about the
 * connection, so it leads to a fresh question, never to a verdict.
 */

/** A timer that is later than this was throttled, or the machine slept. */
const LATE_MS = 2_000;
/** Patience after a wake-up signal (tab shown, network back), when a dead socket is likely. */
const WAKE_TIMEOUT_MS = 3_000;

export class Liveness {
  #heardAt = 0;
  #askedAt = 0;
  #patienceMs = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} options
   * @param {() => void} options.ask Send a ping; any message that comes in is an answer.
   * @param {() => void} options.dead The connection does not answer.
   */
  constructor({ ask, dead }) {
    this.ask = ask;
    this.dead = dead;
    this.afterMs = 0;
    this.timeoutMs = 0;
  }

  /**
   * Watch a connection that was just heard.
   * @param {{ping_after_ms: number, ping_timeout_ms: number}} timers
   */
  start({ ping_after_ms, ping_timeout_ms }) {
    this.stop();
    this.afterMs = ping_after_ms;
    this.timeoutMs = ping_timeout_ms;
    this.heard();
    this.#arm(this.#heardAt + this.afterMs);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#askedAt = 0;
  }

  heard() {
    this.#heardAt = Date.now();
    this.#askedAt = 0;
  }

  /** Something suggests that the connection may be gone: find out quickly. */
  probe() {
    if (this.#timer === undefined) return;
    this.#question(Math.min(WAKE_TIMEOUT_MS, this.timeoutMs));
  }

  /** @param {number} patienceMs */
  #question(patienceMs) {
    this.#askedAt = Date.now();
    this.#patienceMs = patienceMs;
    this.#arm(this.#askedAt + patienceMs);
    this.ask();
  }

  /** @param {number} due */
  #arm(due) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tick(due), Math.max(0, due - Date.now()));
  }

  /** @param {number} due */
  #tick(due) {
    const now = Date.now();
    if (now < this.#heardAt) this.#heardAt = now; // the clock was set back
    if (this.#askedAt === 0) {
      if (now - this.#heardAt >= this.afterMs) this.#question(this.timeoutMs);
      else this.#arm(this.#heardAt + this.afterMs);
    } else if (now - due > LATE_MS) {
      this.#question(this.#patienceMs);
    } else {
      this.stop();
      this.dead();
    }
  }
}
