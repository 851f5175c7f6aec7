/** @import { Entry, MatchSummary } from "../duologue/protocol.js" */

import assert from "node:assert/strict";
import { test } from "node:test";
import { MatchLog } from "../duologue/match_log.js";
import { message, NOW, summary } from "./play.js";

/** @param {number} lastSeq @param {Record<string, unknown>} [more] */
function logAt(lastSeq, more) {
  const log = new MatchLog("m1", "alice", 100);
  log.adopt(/** @type {MatchSummary} */ (summary(lastSeq, more)), true);
  return log;
}

/** @param {Entry[]} entries */
const seqs = (entries) => entries.map(({ seq }) => seq);

test("whatever order entries come in, each is applied once and in order", () => {
  const order = [3, 1, 5, 5, 2, 2, 1, 4, 3, 6];
  const log = logAt(0);
  const applied = order.flatMap((seq) => log.offer(message(seq)));
  assert.deepEqual(seqs(applied), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(log.cursor, [6, NOW + 6]);
  assert.equal(log.hasGap, false);
});

test("an entry of an unknown type moves the cursor", () => {
  const log = logAt(1);
  const unknown = /** @type {Entry} */ (/** @type {unknown} */ ({ ...message(2), type: "of the future" }));
  assert.equal(log.offer(unknown).length, 1);
  assert.deepEqual(log.cursor, [2, NOW + 2]);
  assert.equal(log.unread, 0);
});

test("entries held are bounded, the newest stay", () => {
  const log = logAt(0);
  for (let seq = 1; seq <= 250; seq += 1) log.offer(message(seq));
  assert.equal(log.entries.length, 100);
  assert.equal(log.entries[0]?.seq, 151);
  assert.equal(log.atStart, false);
});

test("messages of others count as unread, my own and receipts of my other devices end it", () => {
  const log = logAt(10, { unread: 2 });
  log.offer(message(11));
  log.offer({ type: "skip", match: "m1", seq: 12, created_at: NOW + 12 });
  assert.equal(log.unread, 3);
  log.offer(message(13, "alice"));
  assert.equal(log.unread, 0);
  log.offer(message(14));
  log.offer(message(15));
  assert.equal(log.unread, 2);
  log.receipt({ type: "receipt", match: "m1", user: "alice", delivered: 15, read: 14 });
  assert.equal(log.unread, 1);
  assert.equal(log.unreadIsGuess, false);
});

test("missed entries that the summary counted are not counted again", () => {
  const log = logAt(3);
  const members = [{ user: "alice", delivered: 3, read: 3 }];
  log.adopt(/** @type {MatchSummary} */ (summary(5, { unread: 2, members })), false);
  log.offer(message(4));
  log.offer(message(5));
  assert.equal(log.unread, 2);
  log.offer(message(6));
  assert.equal(log.unread, 3);
});

test("a read cursor among entries that are not held makes the count a guess", () => {
  const log = logAt(50, { unread: 30 });
  log.receipt({ type: "receipt", match: "m1", user: "alice", delivered: 50, read: 40 });
  assert.equal(log.unreadIsGuess, true);
  log.receipt({ type: "receipt", match: "m1", user: "alice", delivered: 50, read: 50 });
  assert.equal(log.unread, 0);
  assert.equal(log.unreadIsGuess, false);
});

test("pages are joined to the front only without a hole, and tell the start", () => {
  const log = logAt(10);
  log.prepend([message(5), message(6)], false);
  assert.deepEqual(seqs(log.entries), [10]);
  log.prepend([message(8), message(9)], false);
  log.prepend([message(6), message(7)], true);
  assert.deepEqual(seqs(log.entries), [6, 7, 8, 9, 10]);
  assert.equal(log.atStart, true);
});

test("a summary without a cursor given drops what is held unless nothing was missed", () => {
  const log = logAt(10);
  assert.equal(log.adopt(/** @type {MatchSummary} */ (summary(10)), true), false);
  assert.equal(log.adopt(/** @type {MatchSummary} */ (summary(20)), true), true);
  assert.deepEqual(seqs(log.entries), [20]);
});

test("a summary that is older than what came since hello turns nothing back", () => {
  const log = logAt(5);
  log.markHello();
  log.offer(message(6));
  log.markRead(6);
  log.offer(message(7));
  for (const resumed of [true, false]) {
    assert.equal(log.adopt(/** @type {MatchSummary} */ (summary(5)), !resumed), false);
    assert.deepEqual([log.lastSeq, log.last, log.unread, log.mine.read], [7, message(7), 1, 6]);
    assert.deepEqual(seqs(log.entries), [5, 6, 7]);
  }
});

test("a summary that ends before what hello said is of another log, and holds", () => {
  const log = logAt(5);
  log.offer(message(6));
  log.markHello();
  log.adopt(/** @type {MatchSummary} */ (summary(3, { unread: 2 })), false);
  assert.deepEqual([log.lastSeq, log.last, log.unread], [3, message(3), 2]);
  assert.equal(log.adopt(/** @type {MatchSummary} */ (summary(3)), true), true);
  assert.deepEqual(seqs(log.entries), [3]);
  const stored = MatchLog.fromStored(structuredClone(logAt(9).toStored("e1")), "alice", 100);
  stored.adopt(/** @type {MatchSummary} */ (summary(3)), true);
  assert.deepEqual(stored.cursor, [3, NOW + 3]);
});

test("a log begun anew goes on with what came in meanwhile", () => {
  const log = logAt(10);
  log.drop();
  assert.deepEqual(log.offer(message(4)), []);
  assert.deepEqual(log.offer(message(5)), []);
  assert.deepEqual(seqs(log.restart([message(2), message(3)], true)), [4, 5]);
  assert.deepEqual(seqs(log.entries), [2, 3, 4, 5]);
});

test("what is stored brings the same log back", () => {
  const log = logAt(3, { unread: 1 });
  log.offer(message(4));
  const back = MatchLog.fromStored(structuredClone(log.toStored("e1")), "alice", 100);
  assert.deepEqual(back.toStored("e1"), log.toStored("e1"));
  back.offer(message(5));
  assert.equal(back.unread, 3);
});

test("members entries change who is in; senders have read what they wrote", () => {
  const log = logAt(1);
  const entry = {
    match: "m1",
    seq: 2,
    created_at: NOW + 2,
    members: ["alice", "carol"],
    joined: ["carol"],
    left: ["bob"],
  };
  log.offer({ type: "members", ...entry });
  assert.deepEqual([...log.members.keys()], ["alice", "carol"]);
  log.offer(message(3, "carol"));
  assert.deepEqual(log.members.get("carol"), { delivered: 3, read: 3 });
});
