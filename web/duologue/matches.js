/**
 * All matches of the user: takes in what the server says, repairs holes, and tells what changed.
 *
 * Holes are closed by `sync` after a short wait (the missing entries are often just late); when more is missing than
 * would be held anyway, or the server says that the cursor is not of this log, the newest page is read instead.
 */

/** @import { Cursor, Entry, MatchSummary, ReceiptPush, SyncedMatch } from "./protocol.js" */
/** @import { StoredMatch } from "./match_log.js" */

import { MatchLog } from "./match_log.js";
import { DuologueError } from "./protocol.js";

/**
 * @typedef {object} MatchesOptions
 * @property {string} me
 * @property {number} maxEntries
 * @property {<Answer>(message: {type: string} & Record<string, unknown>) => Promise<Answer>} request
 * @property {() => number} syncDelayMs
 * @property {(entry: Entry) => void} applied In order, each once.
 * @property {(match: string, page: Entry[]) => void} readAnew A page, oldest first, is held in place of what was held.
 * @property {(match: string, change: MatchChange) => void} changed
 * @property {(match: string, user: string) => void} receipt
 */
/**
 * @typedef {"made" | "changed" | "left" | "unread" | "reset"} MatchChange `reset`: the entries held were dropped; what is
 * shown of the match is to be read again.
 */

const RELOAD_PAGE = 50;
/** How often a repair is tried while the server says "not now" (many matches repaired at once, a store that is away). */
const REPAIR_TRIES = 8;
const REPAIR_PAUSE_MS = 1000;
const UNREAD_TRIES = 4;
/** `hello` has to fit in a frame of 64 KiB, beside a token of 4 KiB. */
const CURSORS_MAX_BYTES = 56_000;
/** A cursor without its match. */
const CURSOR_BYTES = 40;

export class Matches {
  /** @type {Map<string, MatchLog>} */
  logs = new Map();
  /** No match is older than those in `logs`. */
  complete = false;
  /** @type {Set<string>} Matches that changed since they were last saved. */
  dirty = new Set();

  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #syncTimers = new Map();
  /** @type {Map<string, Promise<void>>} */
  #repairing = new Map();
  /** @type {ReadonlySet<string>} */
  #blocked = new Set();

  /** @param {MatchesOptions} options */
  constructor(options) {
    this.options = options;
  }

  /** @param {StoredMatch[]} stored */
  restore(stored) {
    for (const each of stored) {
      this.logs.set(each.match, MatchLog.fromStored(each, this.options.me, this.options.maxEntries));
    }
  }

  /** Matches with the newest entry first. */
  newestFirst() {
    return [...this.logs.values()].sort((a, b) => b.lastAt - a.lastAt);
  }

  /**
   * The cursors for a `hello` that is said now, those of the newest matches when there are too many.
   * @param {number} max
   */
  cursors(max) {
    for (const log of this.logs.values()) log.markHello();
    /** @type {Record<string, Cursor>} */
    const cursors = {};
    let bytes = 0;
    for (const { match, cursor } of this.newestFirst().slice(0, max)) {
      bytes += 3 * match.length + CURSOR_BYTES;
      if (bytes > CURSORS_MAX_BYTES) break;
      if (cursor !== null && cursor[0] > 0) cursors[match] = cursor;
    }
    return cursors;
  }

  /**
   * Take in `welcome`, or a further page of matches.
   * @param {MatchSummary[]} summaries
   * @param {{complete: boolean, resumed: Record<string, unknown>, first: boolean}} page `resumed`: cursors that were
   *   given; what they missed follows as pushes. `first`: the page begins with the newest match.
   */
  welcome(summaries, { complete, resumed, first }) {
    if (complete) this.complete = true;
    for (const summary of summaries) this.#adopt(summary, !(summary.match in resumed));
    if (!complete || !first) return;
    const present = new Set(summaries.map(({ match }) => match));
    // One that came since hello, by the connection before, need not be known to this one's node yet.
    const wereThere = [...this.logs.values()].filter(({ heldAtHello }) => heldAtHello !== undefined);
    for (const { match } of wereThere) if (!present.has(match)) this.leave(match);
  }

  /**
   * The user is a member of a match from now on, or it changed.
   * @param {MatchSummary} summary
   */
  made(summary) {
    const known = this.logs.get(summary.match);
    this.#adopt(summary, (known?.cursor?.[0] ?? 0) < summary.last_seq);
  }

  /** @param {string} match */
  leave(match) {
    this.#stopSync(match);
    if (!this.logs.delete(match)) return;
    this.dirty.delete(match);
    this.options.changed(match, "left");
  }

  /**
   * Take in an entry, live or missed. Returns its log, or undefined for a match that is not known.
   * @param {Entry} entry
   */
  offer(entry) {
    const log = this.logs.get(entry.match);
    if (!log) return undefined;
    this.#applied(log, log.offer(entry));
    if (log.hasGap) this.#syncSoon(log.match, this.options.syncDelayMs());
    return log;
  }

  /** @param {ReceiptPush} push */
  receipt(push) {
    const log = this.logs.get(push.match);
    if (!log) return;
    const before = log.unread;
    if (!log.receipt(push)) return;
    this.dirty.add(push.match);
    this.options.receipt(push.match, push.user);
    if (log.unread !== before) this.options.changed(push.match, "unread");
    if (log.unreadIsGuess) void this.#askUnread(log);
  }

  /**
   * This user has read `match` up to `seq`. Returns whether that is news to tell.
   * @param {string} match
   * @param {number} seq
   */
  read(match, seq) {
    const log = this.logs.get(match);
    if (!log?.markRead(seq)) return false;
    this.dirty.add(match);
    this.options.changed(match, "unread");
    return true;
  }

  /** More was missed than was pushed. @param {string} match */
  gap(match) {
    this.#syncSoon(match, 0);
  }

  /** The cursor is not of this log. @param {string} match */
  reset(match) {
    const log = this.logs.get(match);
    if (log) void this.#repair(log, () => this.#readAnew(log));
  }

  /** The user's own settings of `match`. @param {string} match @param {boolean} privateRead */
  settings(match, privateRead) {
    const log = this.logs.get(match);
    if (!log || log.privateRead === privateRead) return;
    log.privateRead = privateRead;
    this.dirty.add(match);
    this.options.changed(match, "changed");
  }

  /**
   * Who is hidden from this user may be others than before: read again what is shown wrongly.
   * @param {ReadonlySet<string>} blocked
   * @param {string} [about] The one who was blocked, or is no more: what is unread of groups with them is counted again.
   *   Undefined where the counts are fresh.
   */
  showAnew(blocked, about) {
    this.#blocked = new Set(blocked);
    for (const log of this.logs.values()) {
      const again = log.isShownWrongly(this.#blocked);
      log.blocked = this.#blocked;
      if (again) log.drop(); // at once: what is stored before the page comes is not taken for right
      const recount = about !== undefined && log.isGroup && log.members.has(about);
      if (again || recount) void this.#showAnew(log, recount);
    }
  }

  /** @param {MatchLog} log @param {boolean} recount */
  async #showAnew(log, recount) {
    for (let other = this.#repairing.get(log.match); other; other = this.#repairing.get(log.match)) await other;
    if (this.logs.get(log.match) !== log) return;
    if (log.cursor === null) await this.#repair(log, () => this.#readAnew(log));
    if (!recount || log.cursor === null) return;
    log.recount();
    this.dirty.add(log.match);
    this.options.changed(log.match, "unread");
    if (log.unreadIsGuess) await this.#askUnread(log);
  }

  /** Ask for the unread count again; what this user has read may have to become known there first. @param {MatchLog} log */
  async #askUnread(log) {
    try {
      for (let tries = 1; tries <= UNREAD_TRIES && log.unreadIsGuess; tries += 1) {
        if (tries > 1) await new Promise((resume) => setTimeout(resume, REPAIR_PAUSE_MS));
        // The newest match older than just after this one's newest entry: this one, unless it has changed meanwhile.
        const message = { type: "matches", before: log.lastAt + 1, limit: 1 };
        /** @type {{matches: MatchSummary[]}} */
        const { matches } = await this.options.request(message);
        const summary = matches[0];
        const told = summary?.members.find(({ user }) => user === this.options.me);
        if (summary?.match !== log.match || summary.last_seq !== log.lastSeq) continue;
        if ((told?.read ?? 0) < log.mine.read) continue;
        log.unread = summary.unread;
        log.unreadIsGuess = false;
        this.dirty.add(log.match);
        this.options.changed(log.match, "unread");
      }
    } catch {
      // The next welcome tells it.
    }
  }

  /** The connection is gone: what was to be asked on it is asked by the next hello. */
  lost() {
    for (const match of [...this.#syncTimers.keys()]) this.#stopSync(match);
  }

  /**
   * @param {MatchSummary} summary
   * @param {boolean} jump
   */
  #adopt(summary, jump) {
    const known = this.logs.get(summary.match);
    const log = known ?? new MatchLog(summary.match, this.options.me, this.options.maxEntries);
    if (!known) log.blocked = this.#blocked;
    this.logs.set(summary.match, log);
    const wasDropped = known?.cursor === null; // and what was to be read in its place did not come
    const dropped = log.adopt(summary, jump) || wasDropped;
    this.dirty.add(summary.match);
    this.options.changed(summary.match, known ? "changed" : "made");
    if (dropped) this.options.changed(summary.match, "reset");
  }

  /**
   * @param {MatchLog} log
   * @param {Entry[]} entries
   */
  #applied(log, entries) {
    if (!entries.length) return;
    this.dirty.add(log.match);
    for (const entry of entries) this.options.applied(entry);
    if (entries.some((entry) => entry.type === "members")) this.options.changed(log.match, "changed");
    this.options.changed(log.match, "unread");
  }

  /**
   * @param {string} match
   * @param {number} delayMs
   */
  #syncSoon(match, delayMs) {
    if (this.#syncTimers.has(match) || this.#repairing.has(match)) return;
    const timer = setTimeout(() => {
      this.#syncTimers.delete(match);
      const log = this.logs.get(match);
      if (log && (log.missing > 0 || delayMs === 0)) void this.#repair(log, () => this.#sync(log));
    }, delayMs);
    this.#syncTimers.set(match, timer);
  }

  /** @param {string} match */
  #stopSync(match) {
    clearTimeout(this.#syncTimers.get(match));
    this.#syncTimers.delete(match);
  }

  /**
   * @param {MatchLog} log
   * @param {() => Promise<void>} work
   */
  async #repair(log, work) {
    if (this.#repairing.has(log.match)) return;
    // The connection may go away in between (or the server is in lasting trouble): hello resumes from where we are.
    const repair = patiently(work).catch(() => {});
    this.#repairing.set(log.match, repair);
    await repair;
    this.#repairing.delete(log.match);
    if (log.cursor !== null && log.hasGap && this.logs.get(log.match) === log) {
      this.#syncSoon(log.match, this.options.syncDelayMs());
    }
  }

  /** @param {MatchLog} log */
  async #sync(log) {
    for (;;) {
      if (log.cursor === null || log.missing > log.maxEntries) return await this.#readAnew(log);
      const message = { type: "sync", cursors: { [log.match]: log.cursor } };
      /** @type {{matches: Record<string, SyncedMatch>, receipts: ReceiptPush[]}} */
      const answer = await this.options.request(message);
      for (const receipt of answer.receipts) this.receipt(receipt);
      const synced = answer.matches[log.match];
      if (!synced) return this.leave(log.match);
      if (synced.reset) return await this.#readAnew(log);
      for (const entry of synced.entries) this.#applied(log, log.offer(entry));
      if (synced.left) return this.leave(log.match);
      if (synced.complete || !synced.entries.length) return;
    }
  }

  /** @param {MatchLog} log */
  async #readAnew(log) {
    log.drop();
    const message = { type: "history", match: log.match, limit: RELOAD_PAGE };
    /** @type {{messages: Entry[], complete: boolean}} */
    const { messages, complete } = await this.options.request(message);
    const following = log.restart(messages.reverse(), complete);
    this.dirty.add(log.match);
    this.options.readAnew(log.match, messages);
    this.options.changed(log.match, "reset");
    this.#applied(log, following);
    this.options.changed(log.match, "unread");
  }
}

/** Do `work`, again after the time told when it is refused for now. @param {() => Promise<void>} work */
async function patiently(work) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (problem) {
      if (!(problem instanceof DuologueError) || !problem.temporary || tries >= REPAIR_TRIES) throw problem;
      await new Promise((resume) => setTimeout(resume, problem.retry_after_ms ?? REPAIR_PAUSE_MS));
    }
  }
}
