import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStorage } from "../duologue.js";
import { includes, message, NOW, Play, summary, texts, watchingBob } from "./play.js";

test("a match known from the summary only goes on with the next push", async () => {
  const play = new Play();
  const seqs = play.seqs();
  play.chat.connect();
  const { hello } = await play.welcome([summary(7, { unread: 3 })], [message(8)]);
  assert.deepEqual(hello.cursors, {});
  assert.deepEqual(seqs, [8]);
  includes(play.chat.match("m1") ?? {}, { unread: 4, last_seq: 8, others: ["bob"] });
  await play.chat.close();
});

test("coming back gives the cursors, and missed entries are told once and in order", async () => {
  const { play, ...first } = await Play.online([summary(1)], { pushes: [message(2)] });
  const seqs = play.seqs();
  const offline = play.next("status", ({ state }) => state === "offline");
  first.socket.cut();
  await offline;
  play.chat.connect();
  const { hello } = await play.welcome([summary(4, { unread: 2 })], [message(3), message(4), message(4), message(5)]);
  assert.deepEqual(hello.cursors, { m1: [2, NOW + 2] });
  assert.deepEqual(seqs, [3, 4, 5]);
  assert.equal(play.chat.unread, 3);
  await play.chat.close();
});

test("a reload brings back entries, unread count and cursors", async () => {
  const storage = new MemoryStorage();
  const { play: before } = await Play.online([summary(1)], { pushes: [message(2), message(3)], options: { storage } });
  await before.chat.close();

  const after = new Play({ storage });
  await after.chat.open();
  assert.deepEqual(texts(after.chat.entries("m1").entries), ["text 1", "text 2", "text 3"]);
  assert.equal(after.chat.unread, 2);
  after.chat.connect();
  const { hello } = await after.welcome([summary(3, { unread: 2 })]);
  assert.deepEqual(hello.cursors, { m1: [3, NOW + 3] });
  await after.chat.close();
});

test("a hole is closed by sync, page by page", async () => {
  const play = new Play();
  const seqs = play.seqs();
  play.chat.connect();
  const { socket } = await play.welcome([summary(1)], [message(6)]);
  const first = await socket.expect("sync");
  assert.deepEqual(first.cursors, { m1: [1, NOW + 1] });
  socket.ok(first, { matches: { m1: { entries: [message(2), message(3)], complete: false } }, receipts: [] });
  const second = await socket.expect("sync");
  assert.deepEqual(second.cursors, { m1: [3, NOW + 3] });
  const done = play.next("entry", ({ seq }) => seq === 6);
  socket.ok(second, {
    matches: { m1: { entries: [message(4), message(5), message(6)], complete: true } },
    receipts: [],
  });
  await done;
  assert.deepEqual(seqs, [2, 3, 4, 5, 6]);
  await play.chat.close();
});

test("an entry that is only late needs no sync", async () => {
  const { play, socket } = await Play.online([summary(1)], { pushes: [message(3), message(2)] });
  assert.equal(play.chat.match("m1")?.last_seq, 3);
  await new Promise((resolve) => setTimeout(resolve, 15));
  assert.deepEqual(
    socket.inbox.filter(({ type }) => type === "sync"),
    [],
  );
  await play.chat.close();
});

test("after reset, and after a gap too long to hold, the newest page is read instead", async () => {
  const { play, socket } = await Play.online([summary(5)], { options: { maxEntries: 10 } });
  socket.push({ type: "reset", match: "m1" });
  const history = await socket.expect("history");
  socket.push(message(4)); // while the page is on its way
  const reset = play.next("match", ({ change }) => change === "reset");
  socket.ok(history, { match: "m1", messages: [message(3), message(2)], complete: false });
  await reset;
  assert.deepEqual(texts(play.chat.entries("m1").entries), ["text 2", "text 3", "text 4"]);

  const jumped = play.next("match", ({ change }) => change === "reset");
  socket.push(message(90));
  socket.ok(await socket.expect("history"), { match: "m1", messages: [message(90), message(89)], complete: false });
  await jumped;
  assert.deepEqual(texts(play.chat.entries("m1").entries), ["text 89", "text 90"]);
  await play.chat.close();
});

test("a repair that is refused for now is tried again after the time told", async () => {
  const { play, socket } = await Play.online([summary(5)]);
  socket.push({ type: "reset", match: "m1" });
  socket.refuse(await socket.expect("history"), "rate_limited", { retry_after_ms: 5 });
  const reset = play.next("match", ({ change }) => change === "reset");
  socket.ok(await socket.expect("history"), { match: "m1", messages: [message(3), message(2)], complete: false });
  await reset;
  assert.deepEqual(texts(play.chat.entries("m1").entries), ["text 2", "text 3"]);
  await play.chat.close();
});

test("matches come, change and go while connected and while away", async () => {
  const { play, socket } = await Play.online([summary(1)]);
  const made = play.next("match", ({ match, change }) => match === "m2" && change === "made");
  socket.push({ type: "match", ...summary(1, { match: "m2", last: null }) });
  await made;
  socket.push(message(2, "bob", "m2"));
  assert.equal(play.chat.match("m2")?.unread, 1);
  assert.deepEqual(
    play.chat.matches().map(({ match }) => match),
    ["m2", "m1"],
  );
  socket.push({ type: "match.left", match: "m1" });
  assert.equal(play.chat.match("m1"), undefined);
  socket.cut();
  play.chat.connect();
  await play.welcome([]);
  assert.deepEqual(play.chat.matches(), []);
  await play.chat.close();
});

test("messages are sent one at a time per match, in order, and side by side between matches", async () => {
  const { play, socket } = await Play.online([summary(1), summary(1, { match: "m2", last: null })]);
  await play.chat.send("m1", "one");
  await play.chat.send("m1", "two");
  await play.chat.send("m2", "other");
  const one = await socket.expect("message.send");
  const other = await socket.expect("message.send");
  assert.deepEqual([one.body.text, other.body.text], ["one", "other"]);
  assert.equal(socket.inbox.filter(({ type }) => type === "message.send").length, 0);
  socket.ok(one, { match: "m1", seq: 2, created_at: NOW + 2, duplicate: false });
  assert.equal((await socket.expect("message.send")).body.text, "two");
  includes(play.chat.match("m1") ?? {}, { last_seq: 2, unread: 0, read: 2 });
  await play.chat.close();
});

test("what was written offline survives a reload and is sent once, with the same client_id", async () => {
  const storage = new MemoryStorage();
  const { play: before, socket } = await Play.online([summary(1)], { options: { storage } });
  const { client_id } = await before.chat.send("m1", "hello");
  await socket.expect("message.send"); // the answer is lost with the page
  await before.chat.close();

  const after = new Play({ storage });
  await after.chat.open();
  assert.equal(after.chat.unsent("m1").length, 1);
  after.chat.connect();
  const second = await after.welcome([summary(1)]);
  const again = await second.socket.expect("message.send");
  assert.equal(again.client_id, client_id);
  const stored = after.next("outbox", ({ state }) => state === "stored");
  second.socket.ok(again, { match: "m1", seq: 2, created_at: NOW + 2, duplicate: true });
  await stored;
  assert.deepEqual(after.chat.unsent(), []);
  await after.chat.close();
});

test("a message found in the log is not sent again", async () => {
  const { play, ...first } = await Play.online([summary(1)]);
  const { client_id } = await play.chat.send("m1", "hello");
  await first.socket.expect("message.send");
  first.socket.cut();
  play.chat.connect();
  const stored = play.next("outbox", ({ state }) => state === "stored");
  const mine = { ...message(2, "alice"), client_id };
  await play.welcome([summary(2)], [mine]);
  await stored;
  assert.deepEqual(play.chat.unsent(), []);
  await play.chat.close();
});

test("refused for now waits and repeats; refused for good fails, and can be sent again or discarded", async () => {
  const { play, socket } = await Play.online([summary(1)]);
  const { client_id } = await play.chat.send("m1", "hello");
  socket.refuse(await socket.expect("message.send"), "rate_limited", { retry_after_ms: 5, stored: "no" });
  const again = await socket.expect("message.send");
  assert.equal(again.client_id, client_id);
  const failed = play.next("outbox", ({ state }) => state === "failed");
  socket.refuse(again, "client_id_conflict", { stored: "no" });
  assert.equal((await failed).item.error, "client_id_conflict");

  await play.chat.retry(client_id);
  const renewed = await socket.expect("message.send");
  assert(renewed.client_id !== client_id);
  const failedAgain = play.next("outbox", ({ state }) => state === "failed");
  socket.refuse(renewed, "not_member", { stored: "no" });
  await failedAgain;
  await play.chat.discard(renewed.client_id);
  assert.deepEqual(play.chat.unsent(), []);
  await play.chat.close();
});

test("a message of 30 days ago is given up and says so", async () => {
  const storage = new MemoryStorage();
  const old = Date.now() - 31 * 24 * 3_600_000;
  const item = { client_id: "old", match: "m1", body: { text: "late" }, created_ms: old, order: "0", state: "waiting" };
  await storage.putOutbox("ws://test/ws alice", /** @type {import("../duologue.js").OutboxItem} */ (item));
  const play = new Play({ storage });
  const failed = play.next("outbox", ({ state }) => state === "failed");
  play.chat.connect();
  await play.welcome([summary(1)]);
  assert.equal((await failed).item.error, "expired");
  await play.chat.close();
});

test("two tabs of one user share the outbox and send each message once", async () => {
  const storage = new MemoryStorage();
  const [one, two] = [new Play({ storage }), new Play({ storage })];
  one.chat.connect();
  two.chat.connect();
  const first = await one.welcome([summary(1)]);
  const second = await two.welcome([summary(1)]);
  const shared = two.next("outbox", ({ state }) => state === "waiting");
  await one.chat.send("m1", "hello");
  const sent = await first.socket.expect("message.send");
  await shared;
  const gone = two.next("outbox", ({ state }) => state !== "waiting");
  first.socket.ok(sent, { match: "m1", seq: 2, created_at: NOW + 2, duplicate: false });
  await gone;
  assert.equal(second.socket.inbox.filter(({ type }) => type === "message.send").length, 0);
  assert.deepEqual(two.chat.unsent(), []);
  await one.chat.close();
  await two.chat.close();
});

test("delivery is told by itself, reading by read(), each as one receipt", async () => {
  const { play, socket } = await Play.online([summary(0)], { pushes: [message(1), message(2), message(3)] });
  includes(await socket.expect("receipt"), { match: "m1", delivered: 3 });
  play.chat.read("m1", 2);
  play.chat.read("m1", 3);
  includes(await socket.expect("receipt"), { match: "m1", read: 3 });
  assert.equal(play.chat.unread, 0);
  await play.chat.close();
});

test("what was read while away is told at the next welcome", async () => {
  const { play, socket } = await Play.online([summary(0)], { pushes: [message(1)] });
  await socket.expect("receipt");
  socket.cut();
  play.chat.read("m1");
  play.chat.connect();
  const { socket: next } = await play.welcome([summary(1, { unread: 1 })]);
  includes(await next.expect("receipt"), { match: "m1", read: 1 });
  assert.equal(play.chat.unread, 0);
  await play.chat.close();
});

test("an unread count that cannot be known here is asked for", async () => {
  const { play, socket } = await Play.online([summary(50, { unread: 30 })]);
  socket.push({ type: "receipt", match: "m1", user: "alice", delivered: 50, read: 45 });
  const asked = await socket.expect("matches");
  const told = play.next("unread", ({ unread }) => unread === 4);
  const members = [{ user: "alice", delivered: 50, read: 45 }];
  socket.ok(asked, { matches: [summary(50, { unread: 4, members })], complete: false });
  await told;
  await play.chat.close();
});

test("typing is told at most once per interval and stops on send", async () => {
  const { play, socket } = await Play.online([summary(0)]);
  for (let key = 0; key < 20; key += 1) play.chat.typing("m1");
  await play.chat.send("m1", "hello");
  const typing = socket.inbox.filter(({ type }) => type === "typing").map(({ on }) => on);
  assert.deepEqual(typing, [true, false]);
  await play.chat.close();
});

test("others' typing ends by itself, by their message and with the connection", async () => {
  const { play, socket } = await Play.online([summary(0)]);
  socket.push({ type: "typing", match: "m1", user: "bob", on: true });
  assert.deepEqual(play.chat.typingIn("m1"), ["bob"]);
  await play.next("typing", ({ users }) => users.length === 0);
  socket.push({ type: "typing", match: "m1", user: "bob", on: true });
  socket.push(message(1));
  assert.deepEqual(play.chat.typingIn("m1"), []);
  socket.push({ type: "typing", match: "m1", user: "bob", on: true });
  socket.cut();
  assert.deepEqual(play.chat.typingIn("m1"), []);
  await play.chat.close();
});

test("watched users are watched again on every connection; older news do not win", async () => {
  const { play, socket } = await watchingBob({ first: { status: "online", v: 5 } });
  socket.push({ type: "presence", changes: [{ user: "bob", status: "offline", v: 4 }] });
  assert.equal(play.chat.presence("bob").status, "online");
  socket.cut();
  assert.equal(play.chat.presence("bob").status, "unknown");
  play.chat.connect();
  const next = await play.welcome([summary(0)]);
  assert.deepEqual((await next.socket.expect("presence.watch")).users, ["bob"]);
  await play.chat.close();
});

test("history pages are joined to what is held, oldest first", async () => {
  const { play, socket } = await Play.online([summary(9)]);
  const page = play.chat.history("m1", { before: NOW + 9, limit: 2 });
  const asked = await socket.expect("history");
  includes(asked, { match: "m1", before: NOW + 9, limit: 2 });
  socket.ok(asked, { match: "m1", messages: [message(8), message(7)], complete: true });
  assert.deepEqual(texts((await page).entries), ["text 7", "text 8"]);
  const held = play.chat.entries("m1");
  assert.deepEqual(texts(held.entries), ["text 7", "text 8", "text 9"]);
  assert.equal(held.complete, true);
  await play.chat.close();
});

test("app events are told, unknown pushes ignored, a listener that throws does not stop the others", async () => {
  const { play, socket } = await Play.online([summary(0)]);
  const told = play.next("event");
  socket.push({ type: "of the future", something: 1 });
  socket.push({ type: "event", name: "offer", data: { price: 3 } });
  assert.deepEqual(await told, { name: "offer", data: { price: 3 } });
  await play.chat.close();
});
