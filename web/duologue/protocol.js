/**
 * The words of the wire protocol `duologue.v1` as types, and the few rules of it that a client has to know.
 *
 * Times named `created_at`, `last_at` and `last_seen` are integer microseconds since 1970; names that end in `_ms` are
 * milliseconds. `docs/protocol.md` is the normative text.
 */

/** @typedef {[seq: number, created_at: number]} Cursor The last entry that a client holds of a match. */
/** @typedef {{text?: string, data?: Record<string, unknown>}} Body What a message says; at least one of the two. */

/**
 * @typedef {object} MessageEntry
 * @property {"message"} type
 * @property {string} match
 * @property {number} seq Place in the match's log: dense, from 1.
 * @property {number} created_at Microseconds; strictly increasing with `seq`.
 * @property {string} sender
 * @property {string} client_id
 * @property {Body} body
 * @property {number} [n] Running count of messages; missing on a message that this client itself has just sent.
 * @property {number} [reply_to] The `seq` of the message that this one answers.
 */
/**
 * @typedef {object} MembersEntry
 * @property {"members"} type
 * @property {string} match
 * @property {number} seq
 * @property {number} created_at
 * @property {string[]} members
 * @property {string[]} joined
 * @property {string[]} left
 */
/**
 * @typedef {object} CallEntry What became of a call. The newest entry of a call says how it stands.
 * @property {"call"} type
 * @property {string} match
 * @property {number} seq
 * @property {number} created_at
 * @property {string} call
 * @property {"ringing" | "ongoing" | "completed" | "missed" | "declined" | "busy" | "cancelled" | "failed"} state
 * @property {string} caller
 * @property {"audio" | "video"} media
 * @property {number} started_at
 * @property {string} [reason]
 * @property {string} [by]
 * @property {number} [duration_ms] Of a completed call.
 * @property {string[]} [participants]
 * @property {number} [n] Of a missed call: it counts as unread.
 */
/** @typedef {{type: "skip", match: string, seq: number, created_at: number}} SkipEntry An entry not shown to this user. */
/** @typedef {MessageEntry | MembersEntry | CallEntry | SkipEntry} Entry Newer servers may send further types: ignore those. */

/** @typedef {{user: string, delivered: number, read: number}} Member */
/**
 * @typedef {object} MatchSummary
 * @property {string} match
 * @property {Member[]} members
 * @property {number} last_seq
 * @property {number} last_at
 * @property {number} unread
 * @property {Entry | null} last
 * @property {boolean} [private_read] The others are not shown how far this user has read.
 */
/**
 * @typedef {object} Timers
 * @property {number} ping_after_ms
 * @property {number} ping_timeout_ms
 * @property {number} typing_interval_ms
 * @property {number} typing_expires_ms
 * @property {number} sync_delay_ms
 * @property {number} call_ring_ms
 * @property {number} call_connect_ms
 * @property {number} call_grace_ms
 * @property {number} call_reconnect_ms
 * @property {number} call_max_ms
 * @property {number} call_negotiation_ms
 * @property {number} call_ice_restart_ms
 * @property {number} call_candidates_ms
 * @property {number} call_stats_ms
 */
/**
 * @typedef {object} Limits
 * @property {number} frame_bytes
 * @property {number} text_chars
 * @property {number} page
 * @property {number} hello_cursors
 * @property {number} sync_cursors
 * @property {number} watched
 * @property {number} members
 * @property {number} call_participants
 */
/**
 * @typedef {object} Welcome
 * @property {"welcome"} type
 * @property {string} user
 * @property {string} session
 * @property {string} store_epoch
 * @property {Timers} timers
 * @property {Limits} limits
 * @property {MatchSummary[]} matches
 * @property {boolean} complete
 * @property {OwnPresence} [presence]
 * @property {string[]} [blocked]
 */

/**
 * @typedef {object} Presence How somebody else is.
 * @property {string} user
 * @property {"online" | "away" | "dnd" | "offline" | "unknown"} status `dnd`: do not disturb. `unknown`: nobody can tell now,
 *   or they are none of this user's business.
 * @property {number} v Of two states of a user the one with the higher `v` is the newer.
 * @property {string} [text] Their own words.
 * @property {number} [last_seen] Microseconds; of those who are offline, where known.
 * @property {"came" | "left" | "status"} [change] What led here; missing in a first state.
 */
/**
 * @typedef {object} OwnPresence How this user is shown to others, on all devices and until it is changed.
 * @property {"online" | "away" | "dnd" | "invisible"} status `online`: as it is. `invisible`: as if offline.
 * @property {string} text The user's own words, at most 100 characters.
 * @property {"exact" | "rounded"} last_seen When they were last seen: to the moment, or to the hour.
 */
/** @typedef {"text" | "recording"} TypingKind */
/** @typedef {{type: "receipt", match: string, user: string, delivered: number, read: number}} ReceiptPush */
/** @typedef {{entries: Entry[], complete: boolean, reset?: boolean, left?: boolean}} SyncedMatch */

/** @import { CallPush } from "./call_types.js" */
/**
 * @typedef {Entry
 *   | CallPush
 *   | ({type: "match"} & MatchSummary)
 *   | {type: "match.left", match: string}
 *   | ReceiptPush
 *   | {type: "typing", match: string, user: string, on: boolean, kind?: TypingKind}
 *   | {type: "presence", changes: Presence[]}
 *   | ({type: "presence.own"} & OwnPresence)
 *   | {type: "blocked", user: string, on: boolean}
 *   | {type: "match.settings", match: string, private_read: boolean}
 *   | {type: "event", name: string, data: Record<string, unknown>}
 *   | {type: "gap", match: string}
 *   | {type: "reset", match: string}
 *   | {type: "degraded", active: boolean}
 *   | {type: "token_expiring", in_ms: number}
 *   | {type: "going_away", after_ms: number}} Push
 */

/** What the server is taken to mean before its `welcome` tells. */
export const DEFAULT_TIMERS = Object.freeze({
  ping_after_ms: 25_000,
  ping_timeout_ms: 10_000,
  typing_interval_ms: 3_000,
  typing_expires_ms: 8_000,
  sync_delay_ms: 500,
  call_ring_ms: 45_000,
  call_connect_ms: 30_000,
  call_grace_ms: 30_000,
  call_reconnect_ms: 30_000,
  call_max_ms: 14_400_000,
  call_negotiation_ms: 15_000,
  call_ice_restart_ms: 2_000,
  call_candidates_ms: 100,
  call_stats_ms: 10_000,
});

/** As above, for sizes. */
export const DEFAULT_LIMITS = Object.freeze({
  frame_bytes: 65_536,
  text_chars: 4_000,
  page: 200,
  hello_cursors: 500,
  sync_cursors: 100,
  watched: 200,
  members: 50,
  call_participants: 6,
});

/** Errors after which the same request may succeed later. Every other code is final for that request. */
const TEMPORARY = new Set(["rate_limited", "unavailable", "internal"]);

/** RFC 6455 codes after which the same client would only fail again. */
const FINAL_RFC_CODES = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010]);

/**
 * Tell whether a client that was closed with `code` should connect again by itself: 4000-4499 yes, 4500-4999 no.
 * @param {number} code
 */
export function comesBack(code) {
  if (code >= 4000 && code < 5000) return code < 4500;
  return !FINAL_RFC_CODES.has(code);
}

/** A request that was refused by the server, or that never got an answer (`code` is then `offline` or `timeout`). */
export class DuologueError extends Error {
  /**
   * @param {string} code One of the catalogue in docs/protocol.md, or `offline`, `timeout`, `expired`, `outbox_full`.
   * @param {string} message For people.
   * @param {{retry_after_ms?: number | undefined, stored?: "no" | "unknown" | undefined, call?: string | undefined}} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
    this.name = "DuologueError";
    this.code = code;
    /** How long to wait before the same request, in milliseconds. */
    this.retry_after_ms = more.retry_after_ms;
    /** Of a message: whether it may be in the log all the same. */
    this.stored = more.stored;
    /** The call that stands in the way, where there is one. */
    this.call = more.call;
  }

  /** May the same request succeed later? */
  get temporary() {
    return TEMPORARY.has(this.code) || this.retry_after_ms !== undefined;
  }
}
