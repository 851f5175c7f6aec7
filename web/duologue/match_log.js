/**
 * One match as this client knows it: an unbroken run of its newest entries, members with their receipts, unread count.
 *
 * Pure: no timers, no network. Guarantees that entries are applied in the order of `seq`, each once, whatever order and
 * however often they come in. Holds at most `maxEntries` entries and `PENDING_MAX` that wait for the ones between.
 */

/** @import { Cursor, Entry, MatchSummary, Member, ReceiptPush } from "./protocol.js" */

/**
 * @typedef {object} StoredMatch What survives a reload.
 * @property {string} match
 * @property {string} epoch
 * @property {Cursor | null} cursor
 * @property {Member[]} members
 * @property {number} unread
 * @property {number} last_seq
 * @property {number} last_at
 * @property {Entry | null} last
 * @property {Entry[]} entries
 * @property {boolean} at_start
 * @property {boolean} [private_read]
 * @property {string[]} [blocked] Whom this user had blocked when the entries were read.
 */

const PENDING_MAX = 500;
/** Entries kept of each match across reloads. */
const STORED_MAX = 60;

export class MatchLog {
  /**
   * Everyone in the match and how far they are; `isHidden`: as far as was seen, no more is told for a block.
   * @type {Map<string, {delivered: number, read: number, isHidden?: boolean}>}
   */
  members = new Map();
  /** The newest entry that was applied; null while the log is being read anew. @type {Cursor | null} */
  cursor = null;
  /** Unbroken, oldest first, ending at the cursor. @type {Entry[]} */
  entries = [];
  /** The first of `entries` is the first that this user may see. */
  atStart = false;
  lastSeq = 0;
  lastAt = 0;
  /** @type {Entry | null} */
  last = null;
  unread = 0;
  /** The unread count is a guess: entries that decide it are not held. Ask the server. */
  unreadIsGuess = false;
  /** The others are not shown how far this user has read. */
  privateRead = false;

  /** Whom this user had blocked when the entries came: a `skip` may stand for what they wrote. @type {ReadonlySet<string>} */
  blocked = new Set();
  /** How far the cursor was at the last hello; undefined: the match came after it. @type {number | undefined} */
  heldAtHello;

  /** Entries up to this one are part of `unread`. */
  #counted = 0;
  /** @type {Map<number, Entry>} */
  #pending = new Map();
  #highestSeen = 0;

  /**
   * @param {string} match
   * @param {string} me
   * @param {number} maxEntries
   */
  constructor(match, me, maxEntries) {
    this.match = match;
    this.me = me;
    this.maxEntries = maxEntries;
  }

  /** How many entries are known to lie between the cursor and the newest entry heard of. */
  get missing() {
    return Math.max(0, Math.max(this.#highestSeen, this.lastSeq) - (this.cursor?.[0] ?? 0));
  }

  /** Entries wait for others that did not come yet. */
  get hasGap() {
    return this.#pending.size > 0;
  }

  /** More than two: what one of them blocked is skipped here, and the rest goes on. */
  get isGroup() {
    return this.members.size > 2;
  }

  /** This user's own receipts. */
  get mine() {
    return this.members.get(this.me) ?? { delivered: 0, read: 0 };
  }

  /**
   * Take in one entry, from whatever source. Returns those that could be applied, in order: none when it was known or
   * when others are missing before it.
   * @param {Entry} entry
   * @returns {Entry[]}
   */
  offer(entry) {
    const have = this.cursor?.[0];
    this.#highestSeen = Math.max(this.#highestSeen, entry.seq);
    if (have !== undefined && entry.seq <= have) return [];
    // What does not fit is not lost: `sync` brings it, because the gap before it has to be closed anyway.
    if (this.#pending.size < PENDING_MAX || entry.seq === (have ?? 0) + 1) this.#pending.set(entry.seq, entry);
    return this.#applyPending();
  }

  /** A hello is said now: no summary in its answer ends before the cursor, unless it is of another log. */
  markHello() {
    this.heldAtHello = this.cursor?.[0] ?? 0;
  }

  /**
   * Take the server's word for members, newest entry and unread count, but for what came since hello by another connection.
   * `jump`: this client gave no cursor for the match, so what lies between is not coming; hold the newest entry only.
   * Returns whether entries that were held had to be dropped.
   * @param {MatchSummary} summary
   * @param {boolean} jump
   */
  adopt(summary, jump) {
    const before = this.mine;
    this.#adoptMembers(summary);
    this.privateRead = summary.private_read ?? false;
    this.unread = summary.unread;
    this.#counted = summary.last_seq;
    this.unreadIsGuess = false;
    this.lastSeq = summary.last_seq;
    this.lastAt = summary.last_at;
    this.last = summary.last;
    this.#highestSeen = Math.max(this.#highestSeen, summary.last_seq);
    const [have = 0, haveAt] = this.cursor ?? [];
    const isOlder = have > summary.last_seq && summary.last_seq >= (this.heldAtHello ?? 0);
    const anew = jump && !isOlder && !(have === summary.last_seq && haveAt === summary.last_at);
    const dropped = anew && this.entries.length > 0;
    if (this.cursor === null || anew) this.#jumpTo(summary);
    if (isOlder) for (const entry of this.entries) if (entry.seq > summary.last_seq) this.#note(entry);
    this.markRead(before.read);
    return dropped;
  }

  /**
   * Entries are held that this user should not see, or that stand for some which they may see again.
   * @param {ReadonlySet<string>} blocked Whom this user has blocked now.
   */
  isShownWrongly(blocked) {
    if (!this.isGroup) return false;
    const unskipped = [...this.blocked].some((user) => !blocked.has(user));
    if (!unskipped && blocked.size === 0) return false;
    return this.entries.some((entry) => {
      if (entry.type === "message") return blocked.has(entry.sender);
      if (entry.type === "call") return blocked.has(entry.caller);
      return unskipped && entry.type === "skip";
    });
  }

  /** Forget all entries and the cursor: the log is another one than was thought, or too much was missed. */
  drop() {
    this.cursor = null;
    this.entries = [];
    this.atStart = false;
    this.#highestSeen = 0;
  }

  /**
   * Begin again with the newest page of the log (oldest first). Returns the entries that came in meanwhile and follow it.
   * @param {Entry[]} page
   * @param {boolean} complete
   */
  restart(page, complete) {
    this.drop();
    const newest = page.at(-1);
    this.cursor = newest ? [newest.seq, newest.created_at] : [0, 0];
    this.entries = page.slice(-this.maxEntries);
    this.atStart = complete && page.length === this.entries.length;
    if (newest && newest.seq >= this.lastSeq) this.#moveLast(newest);
    for (const entry of page) this.#note(entry);
    return this.#applyPending();
  }

  /**
   * Put an older page (oldest first) before what is held, when it joins it without a hole and as far as there is room.
   * @param {Entry[]} page
   * @param {boolean} complete Nothing is older than this page.
   */
  prepend(page, complete) {
    const first = this.entries[0]?.seq ?? (this.cursor ? this.cursor[0] + 1 : undefined);
    if (first === undefined) return;
    const older = page.filter((entry) => entry.seq < first);
    const newest = older.at(-1);
    if (newest ? newest.seq !== first - 1 : !complete) return;
    const kept = older.slice(Math.max(0, older.length - (this.maxEntries - this.entries.length)));
    if (this.entries.length < this.maxEntries) this.entries = [...kept, ...this.entries];
    this.atStart = complete && kept.length === older.length;
  }

  /**
   * Someone's receipts moved (both only grow). Returns whether that changed anything.
   * @param {ReceiptPush} receipt
   */
  receipt({ user, delivered, read }) {
    if (user === this.me) {
      const moved = this.#advance(user, delivered, 0);
      return this.markRead(read) || moved;
    }
    return this.#advance(user, delivered, read);
  }

  /**
   * This user has read up to `seq`. Returns whether that was news.
   * @param {number} seq
   */
  markRead(seq) {
    const to = Math.min(seq, this.lastSeq);
    if (!this.#advance(this.me, to, to)) return false;
    this.recount();
    return true;
  }

  /** The user is told of everything up to the cursor; returns the `delivered` receipt to send, or 0. */
  markDelivered() {
    const to = this.cursor?.[0] ?? 0;
    return this.#advance(this.me, to, 0) ? to : 0;
  }

  /**
   * @param {string} epoch
   * @returns {StoredMatch}
   */
  toStored(epoch) {
    const entries = this.entries.slice(-STORED_MAX);
    return {
      match: this.match,
      epoch,
      cursor: this.cursor,
      members: [...this.members].map(([user, { delivered, read }]) => ({ user, delivered, read })),
      unread: this.unread,
      last_seq: this.lastSeq,
      last_at: this.lastAt,
      last: this.last,
      entries,
      at_start: this.atStart && entries.length === this.entries.length,
      ...(this.privateRead ? { private_read: true } : {}),
      ...(this.blocked.size ? { blocked: [...this.blocked] } : {}),
    };
  }

  /**
   * @param {StoredMatch} stored
   * @param {string} me
   * @param {number} maxEntries
   */
  static fromStored(stored, me, maxEntries) {
    const log = new MatchLog(stored.match, me, maxEntries);
    log.members = new Map(stored.members.map(({ user, delivered, read }) => [user, { delivered, read }]));
    log.privateRead = stored.private_read ?? false;
    log.blocked = new Set(stored.blocked);
    log.cursor = stored.cursor;
    log.markHello();
    log.entries = stored.entries;
    log.atStart = stored.at_start;
    log.unread = stored.unread;
    log.lastSeq = stored.last_seq;
    log.lastAt = stored.last_at;
    log.last = stored.last;
    log.#counted = stored.last_seq;
    return log;
  }

  #applyPending() {
    /** @type {Entry[]} */
    const applied = [];
    if (this.cursor === null) return applied;
    for (const seq of [...this.#pending.keys()]) if (seq <= this.cursor[0]) this.#pending.delete(seq);
    for (;;) {
      const entry = this.#pending.get(this.cursor[0] + 1);
      if (!entry) return applied;
      this.#pending.delete(entry.seq);
      this.cursor = [entry.seq, entry.created_at];
      this.entries.push(entry);
      this.#note(entry);
      applied.push(entry);
      if (this.entries.length > this.maxEntries) {
        this.entries.splice(0, this.entries.length - this.maxEntries);
        this.atStart = false;
      }
    }
  }

  /** @param {Entry} entry */
  #note(entry) {
    if (entry.seq > this.lastSeq) this.#moveLast(entry);
    const isNew = entry.seq > this.#counted;
    if (isNew) this.#counted = entry.seq;
    if (entry.type === "message") {
      this.#advance(entry.sender, entry.seq, entry.seq);
      if (isNew && entry.sender === this.me) this.unread = 0;
      else if (isNew && entry.seq > this.mine.read) this.unread += 1;
    } else if (entry.type === "call" && isNew && countsAsUnread(entry)) {
      // The server moves the caller past it, unless they had not read what came before.
      if (entry.caller === this.me && this.unread === 0) this.#advance(this.me, entry.seq, entry.seq);
      else if (entry.seq > this.mine.read) this.unread += 1;
    } else if (entry.type === "members" && isNew) {
      this.members = new Map(
        entry.members.map((user) => [user, this.members.get(user) ?? { delivered: entry.seq, read: entry.seq }]),
      );
    }
  }

  /** @param {Entry} entry */
  #moveLast(entry) {
    this.lastSeq = entry.seq;
    this.lastAt = entry.created_at;
    this.last = entry;
  }

  /**
   * Receipts only grow. Where a summary tells less of others they are kept from this user, and what was seen stays seen.
   * @param {MatchSummary} summary
   */
  #adoptMembers({ members, last_seq }) {
    const before = this.members;
    this.members = new Map(
      members.map(({ user, delivered, read }) => {
        const seen = (user !== this.me && before.get(user)) || { delivered: 0, read: 0 };
        const kept = (/** @type {number} */ told, /** @type {number} */ had) => Math.max(told, Math.min(had, last_seq));
        const isHidden = user !== this.me && delivered === 0; // who is in a match has at least its first entry
        return [user, { delivered: kept(delivered, seen.delivered), read: kept(read, seen.read), isHidden }];
      }),
    );
  }

  /** @param {MatchSummary} summary */
  #jumpTo(summary) {
    this.cursor = [summary.last_seq, summary.last_at];
    this.entries = summary.last ? [summary.last] : [];
    this.atStart = false;
  }

  /**
   * @param {string} user
   * @param {number} delivered
   * @param {number} read
   */
  #advance(user, delivered, read) {
    const member = this.members.get(user);
    if (!member || (delivered <= member.delivered && read <= member.read)) return false;
    this.members.set(user, {
      delivered: Math.max(member.delivered, delivered),
      read: Math.max(member.read, read),
    });
    return true;
  }

  /** Count what is unread in what is held; a guess where that does not reach back to what was read. */
  recount() {
    const read = this.mine.read;
    if (read >= this.#counted) {
      this.unread = 0;
      this.unreadIsGuess = false;
      return;
    }
    const first = this.entries[0]?.seq ?? Number.POSITIVE_INFINITY;
    const held = this.entries.filter((entry) => countsAsUnread(entry) && entry.seq > read).length;
    const covers = first <= read + 1 && (this.cursor?.[0] ?? 0) >= this.#counted;
    this.unread = covers ? held : Math.min(this.unread, Math.max(held, 1));
    this.unreadIsGuess = !covers;
  }
}

/** Messages count, and calls that were missed. @param {Entry} entry */
function countsAsUnread(entry) {
  return entry.type === "message" || (entry.type === "call" && entry.n !== undefined);
}
