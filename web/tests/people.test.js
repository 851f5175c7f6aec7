import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStorage } from "../duologue.js";
import { greet, includes, message, NOW, Play, summary, texts, watchingBob } from "./play.js";

const GROUP = ["alice", "bob", "carol"].map((user) => ({ user, delivered: 1, read: 1 }));

/** @param {number} seq */
const skip = (seq) => ({ type: "skip", match: "m1", seq, created_at: NOW + seq });

/** @param {number} lastSeq @param {Record<string, unknown>} [more] */
const group = (lastSeq, more = {}) => summary(lastSeq, { members: GROUP, ...more });

test("how the user is shown comes with welcome, is set in part, and follows the other devices", async () => {
  const own = { status: "away", text: "Learning Greek", last_seen: "exact" };
  const { play, socket } = await Play.online([], { more: { presence: own } });
  assert.deepEqual(play.chat.ownPresence, own);
  const set = play.chat.setPresence({ status: "dnd" });
  const asked = await socket.expect("presence.set");
  includes(asked, { status: "dnd" });
  assert.equal("text" in asked, false);
  socket.ok(asked);
  await set;
  assert.deepEqual(play.chat.ownPresence, { ...own, status: "dnd" });
  const told = play.next("ownPresence");
  socket.push({ type: "presence.own", status: "invisible", text: "", last_seen: "rounded" });
  assert.deepEqual(await told, { status: "invisible", text: "", last_seen: "rounded" });
  const refused = play.chat.setPresence({ text: "x".repeat(101) });
  socket.refuse(await socket.expect("presence.set"), "bad_request");
  await assert.rejects(refused, (error) => error.code === "bad_request");
  assert.equal(play.chat.ownPresence.text, "");
  await play.chat.close();
});

test("a watched user's status and words are told; not knowing is news and turns no time back", async () => {
  const { play, socket } = await watchingBob({ first: { status: "online", v: 5, text: "Hi" } });
  includes(play.chat.presence("bob"), { status: "online", text: "Hi" });
  /** @type {(string | undefined)[]} */
  const seen = [];
  play.chat.on("presence", ({ status, text }) => void seen.push(text ?? status));
  const tell = (/** @type {object} */ change) =>
    socket.push({ type: "presence", changes: [{ user: "bob", ...change }] });
  tell({ status: "dnd", v: 7, text: "In an exam", change: "status" });
  tell({ status: "unknown", v: 0 });
  tell({ status: "online", v: 6 });
  assert.equal(play.chat.presence("bob").status, "unknown");
  tell({ status: "offline", v: 8, last_seen: NOW, change: "left" });
  tell({ status: "of the future", v: 9 });
  tell({ status: "away", v: 10, change: "status" });
  assert.deepEqual(seen, ["In an exam", "unknown", "offline", "unknown", "away"]);
  await play.chat.close();
});

test("another server may count from somewhere else: a new connection begins anew", async () => {
  const { play, socket } = await watchingBob({ first: { status: "online", v: 5 } });
  socket.cut();
  assert.equal(play.chat.presence("bob").status, "unknown");
  play.chat.connect();
  const { socket: next } = await play.welcome([summary(0)]);
  const told = play.next("presence");
  next.ok(await next.expect("presence.watch"), { presence: [{ user: "bob", status: "away", v: 3 }] });
  assert.equal((await told).status, "away");
  await play.chat.close();
});

test("a watch that is refused for now is asked for again", async () => {
  const { play, socket, asked } = await watchingBob();
  socket.refuse(asked, "rate_limited", { retry_after_ms: 5 });
  const told = play.next("presence");
  socket.ok(await socket.expect("presence.watch"), { presence: [{ user: "bob", status: "online", v: 1 }] });
  assert.equal((await told).user, "bob");
  await play.chat.close();
});

test("from a block on nothing is shown of the other; taken back, their presence is asked for again", async () => {
  const { play, socket } = await watchingBob({ first: { status: "online", v: 5 } });
  socket.push({ type: "typing", match: "m1", user: "bob", on: true });
  const block = play.chat.block("bob");
  const blocking = await socket.expect("block");
  assert.equal(play.chat.blocked.size, 0);
  socket.ok(blocking);
  await block;
  assert.deepEqual([...play.chat.blocked], ["bob"]);
  socket.push({ type: "typing", match: "m1", user: "bob", on: true });
  socket.push({ type: "presence", changes: [{ user: "bob", status: "online", v: 6 }] });
  assert.deepEqual(play.chat.typingIn("m1"), []);
  assert.equal(play.chat.presence("bob").status, "unknown");

  const told = play.next("presence");
  const unblock = play.chat.unblock("bob");
  socket.ok(await socket.expect("unblock"));
  await unblock;
  socket.ok(await socket.expect("presence.watch"), { presence: [{ user: "bob", status: "away", v: 7 }] });
  assert.equal((await told).status, "away");
  await play.chat.close();
});

test("blocks come with welcome and from other devices; one that is refused does not hold", async () => {
  const play = new Play();
  /** @type {[string, boolean][]} */
  const told = [];
  play.chat.on("blocked", ({ user, on }) => void told.push([user, on]));
  play.chat.connect();
  const { socket } = await play.welcome([summary(0)], [], { blocked: ["mallory"] });
  socket.push({ type: "blocked", user: "bob", on: true });
  socket.push({ type: "blocked", user: "mallory", on: false });
  const refused = play.chat.block("carol");
  socket.refuse(await socket.expect("block"), "bad_request");
  await assert.rejects(refused, (error) => error.code === "bad_request");
  socket.cut();
  await assert.rejects(play.chat.block("carol"), (error) => error.code === "offline");
  play.chat.connect();
  await play.welcome([summary(0)], [], { blocked: ["dave"] });
  assert.deepEqual(told, [
    ["mallory", true],
    ["bob", true],
    ["mallory", false],
    ["bob", false],
    ["dave", true],
  ]);
  assert.deepEqual([...play.chat.blocked], ["dave"]);
  await play.chat.close();
});

test("in a group what a blocked user wrote is read anew, as is what was skipped once that is over", async () => {
  const { play, socket } = await Play.online([group(1, { unread: 0 })], { pushes: [message(2), message(3, "carol")] });
  assert.equal(play.chat.unread, 2);
  const hidden = play.next("match", ({ change }) => change === "reset");
  const fewer = play.next("unread", ({ unread }) => unread === 1);
  socket.push({ type: "blocked", user: "bob", on: true });
  socket.ok(await socket.expect("history"), {
    match: "m1",
    messages: [message(3, "carol"), skip(2), skip(1)],
    complete: true,
  });
  await hidden;
  assert.deepEqual(texts(play.chat.entries("m1").entries), ["skip", "skip", "text 3"]);
  await fewer;
  socket.push(skip(4));
  assert.equal(play.chat.unread, 1);

  const shown = play.next("match", ({ change }) => change === "reset");
  const more = play.next("unread", ({ unread }) => unread === 3);
  const unblock = play.chat.unblock("bob");
  socket.ok(await socket.expect("unblock"));
  await unblock;
  const messages = [message(4), message(3, "carol"), message(2), message(1)];
  socket.ok(await socket.expect("history"), { match: "m1", messages, complete: true });
  await shown;
  assert.deepEqual(texts(play.chat.entries("m1").entries), ["text 1", "text 2", "text 3", "text 4"]);
  await more;
  assert.deepEqual(play.chat.match("m1")?.last, message(4));
  await play.chat.close();
});

test("where what is held does not reach back to what was read, unread messages are asked for", async () => {
  const { play, socket } = await Play.online([group(50, { unread: 30 })]);
  const told = play.next("unread", ({ unread }) => unread === 12);
  socket.push({ type: "blocked", user: "carol", on: true });
  socket.ok(await socket.expect("matches"), { matches: [group(50, { unread: 12 })], complete: true });
  await told;
  await play.chat.close();
});

test("a welcome with blocks brings its own unread counts: nothing is asked for", async () => {
  const play = new Play();
  /** @type {number[]} */
  const told = [];
  play.chat.on("unread", ({ unread }) => void told.push(unread));
  play.chat.connect();
  const last = message(50, "dora");
  const match = summary(50, { members: [...GROUP, { user: "dora", delivered: 50, read: 50 }], unread: 30, last });
  const { socket } = await play.welcome([match], [], { blocked: ["bob", "carol"] });
  await new Promise((resume) => setTimeout(resume, 0)); // behind what was begun meanwhile
  assert.deepEqual(told, [30]);
  assert.deepEqual(socket.inbox, []);
  await play.chat.close();
});

test("two who are blocked at once are read away at once, and what is left is counted", async () => {
  const members = [...GROUP, { user: "dora", delivered: 1, read: 1 }];
  const pushes = [message(2), message(3, "carol"), message(4, "dora")];
  const { play, socket } = await Play.online([summary(1, { members })], { pushes });
  assert.equal(play.chat.unread, 3);
  const counted = play.next("unread", ({ unread }) => unread === 1);
  socket.push({ type: "blocked", user: "bob", on: true });
  socket.push({ type: "blocked", user: "carol", on: true });
  const asked = await socket.expect("history");
  assert.equal(play.chat.unread, 3);
  const messages = [message(4, "dora"), skip(3), skip(2), skip(1)];
  socket.ok(asked, { match: "m1", messages, complete: true });
  await counted;
  const again = socket.inbox.filter(({ type }) => type === "history" || type === "matches");
  assert.deepEqual(again, []);
  await play.chat.close();
});

test("the line of a call that a blocked user made is hidden, too", async () => {
  const call = { type: "call", match: "m1", seq: 2, created_at: NOW + 2, call: "c", state: "missed", caller: "bob" };
  const { play, socket } = await Play.online([group(1, { last: message(1, "carol") })], {
    pushes: [{ ...call, media: "audio", n: 2 }],
  });
  const hidden = play.next("match", ({ change }) => change === "reset");
  socket.push({ type: "blocked", user: "bob", on: true });
  const messages = [skip(2), message(1, "carol")];
  socket.ok(await socket.expect("history"), { match: "m1", messages, complete: true });
  await hidden;
  assert.deepEqual(texts(play.chat.entries("m1").entries), ["text 1", "skip"]);
  await play.chat.close();
});

test("what an earlier page kept is read anew when blocks have changed since; a match of two never is", async () => {
  const storage = new MemoryStorage();
  const { play: before } = await Play.online([group(1), summary(0, { match: "m2" })], {
    pushes: [message(2), message(1, "bob", "m2")],
    options: { storage },
  });
  await before.chat.close();

  const after = new Play({ storage });
  after.chat.connect();
  const reset = after.next("match", ({ match, change }) => match === "m1" && change === "reset");
  const { socket } = await after.welcome([group(2), summary(1, { match: "m2" })], [], { blocked: ["bob"] });
  const asked = await socket.expect("history");
  assert.equal(asked.match, "m1");
  socket.ok(asked, { match: "m1", messages: [skip(2), skip(1)], complete: true });
  await reset;
  assert.deepEqual(texts(after.chat.entries("m2").entries), ["text 1"]);
  assert.deepEqual(
    socket.inbox.filter(({ type }) => type === "history"),
    [],
  );
  await after.chat.close();
});

test("what was skipped when an earlier page kept it stays while the blocks do", async () => {
  const storage = new MemoryStorage();
  const { play: before } = await Play.online([group(1, { last: skip(1) })], {
    pushes: [skip(2)],
    more: { blocked: ["bob"] },
    options: { storage },
  });
  await before.chat.close();

  const after = new Play({ storage });
  after.chat.connect();
  const told = after.next("message");
  const { socket } = await after.welcome([group(3)], [message(3, "carol")], { blocked: ["bob"] });
  assert.equal((await told).seq, 3);
  includes(await socket.expect("receipt"), { match: "m1", delivered: 3 });
  assert.deepEqual(socket.inbox, []);
  assert.deepEqual(texts(after.chat.entries("m1").entries), ["skip", "skip", "text 3"]);
  await after.chat.close();
});

test("what was skipped is read anew when the block is over; the page says what was delivered and what calls are over", async () => {
  const storage = new MemoryStorage();
  const { play: before } = await Play.online([group(1, { last: skip(1) })], {
    more: { blocked: ["bob", "mallory"] },
    options: { storage },
  });
  await before.chat.close();

  const after = new Play({ storage });
  after.chat.connect();
  const reset = after.next("match", ({ change }) => change === "reset");
  const call = { type: "call", match: "m1", call: "c", caller: "carol", media: "audio", started_at: 1 };
  const rings = { ...call, seq: 2, created_at: NOW + 2, state: "ringing", participants: ["carol"] };
  const over = { ...call, seq: 3, created_at: NOW + 3, state: "completed", duration_ms: 1 };
  const { socket } = await after.welcome([group(3)], [rings, over], { blocked: ["mallory"] });
  /** @type {string[]} */
  const ongoing = [];
  after.chat.calls.on("ongoing", ({ match }) => void ongoing.push(match));
  const messages = [over, rings, message(1)];
  socket.ok(await socket.expect("history"), { match: "m1", messages, complete: true });
  await reset;
  assert.deepEqual(texts(after.chat.entries("m1").entries), ["text 1", "call", "call"]);
  assert.deepEqual(ongoing, ["m1", "m1"]);
  assert.equal(after.chat.calls.ongoing("m1"), undefined);
  includes(await socket.expect("receipt"), { match: "m1", delivered: 3 });
  await after.chat.close();
});

test("a page that does not come before the connection goes is told as a reset by the next welcome", async () => {
  const { play, socket } = await Play.online([group(1)], { pushes: [message(2)] });
  socket.push({ type: "blocked", user: "bob", on: true });
  await socket.expect("history");
  const reset = play.next("match", ({ change }) => change === "reset");
  socket.cut();
  play.chat.connect();
  const { hello } = await play.welcome([group(2, { last: skip(2) })], [], { blocked: ["bob"] });
  assert.deepEqual(hello.cursors, {});
  await reset;
  assert.deepEqual(texts(play.chat.entries("m1").entries), ["skip"]);
  await play.chat.close();
});

test("receipts that a block hides are not waited for, and what was seen stays seen", async () => {
  const at = (/** @type {Record<string, number>} */ seqs) =>
    GROUP.map(({ user }) => ({ user, delivered: seqs[user] ?? 9, read: seqs[user] ?? 9 }));
  const { play, socket } = await Play.online([summary(9, { members: at({ bob: 4, carol: 3 }) })]);
  includes(play.chat.match("m1") ?? {}, { read_by_all: 3, delivered_to_all: 3 });
  socket.cut();
  play.chat.connect();
  const { socket: second } = await play.welcome([summary(9, { members: at({ bob: 0, carol: 3 }) })]);
  includes(play.chat.match("m1") ?? {}, { read_by_all: 3 });
  second.push({ type: "receipt", match: "m1", user: "carol", delivered: 9, read: 9 });
  includes(play.chat.match("m1") ?? {}, { read_by_all: 9, delivered_to_all: 9 });
  second.push({ type: "receipt", match: "m1", user: "bob", delivered: 8, read: 7 }); // shown again
  includes(play.chat.match("m1") ?? {}, { read_by_all: 7, delivered_to_all: 8 });
  second.push({ type: "blocked", user: "bob", on: true });
  includes(play.chat.match("m1") ?? {}, { read_by_all: 9, delivered_to_all: 9 });
  await play.chat.close();
});

test("in a match of two what the other had read when they were blocked stays read, and no more is", async () => {
  const members = GROUP.slice(0, 2).map(({ user }) => ({ user, delivered: 4, read: 4 }));
  const { play, socket } = await Play.online([summary(5, { members })]);
  socket.push({ type: "blocked", user: "bob", on: true });
  includes(play.chat.match("m1") ?? {}, { read_by_all: 4, delivered_to_all: 4 });
  socket.cut();
  play.chat.connect();
  const hidden = members.map((member) => (member.user === "bob" ? { user: "bob", delivered: 0, read: 0 } : member));
  await play.welcome([summary(5, { members: hidden })], [], { blocked: ["bob"] });
  includes(play.chat.match("m1") ?? {}, { read_by_all: 4, delivered_to_all: 4 });
  await play.chat.close();
});

test("a message that cannot be delivered fails once and says so; sent again, it keeps its key", async () => {
  const { play, socket } = await Play.online([summary(1)]);
  const failed = play.next("outbox", ({ state }) => state === "failed");
  const { client_id } = await play.chat.send("m1", "hello");
  socket.refuse(await socket.expect("message.send"), "refused", { stored: "no" });
  assert.equal((await failed).item.error, "refused");
  await play.chat.send("m1", "and then?");
  const next = await socket.expect("message.send");
  assert.equal(next.body.text, "and then?");
  const stored = play.next("outbox", ({ state }) => state === "stored");
  socket.ok(next, { match: "m1", seq: 2, created_at: NOW + 2, duplicate: false });
  await stored;
  assert.equal(socket.inbox.filter(({ type }) => type === "message.send").length, 0);
  await play.chat.retry(client_id);
  assert.equal((await socket.expect("message.send")).client_id, client_id);
  await play.chat.close();
});

test("a refused message is a reason to ask again whom one may see", async () => {
  const { play, socket } = await watchingBob({ match: summary(1), first: { status: "online", v: 1 } });
  await play.chat.send("m1", "hello");
  socket.refuse(await socket.expect("message.send"), "refused", { stored: "no" });
  const hidden = play.next("presence");
  socket.ok(await socket.expect("presence.watch"), { presence: [] });
  assert.equal((await hidden).status, "unknown");
  await play.chat.close();
});

test("private reading is set, comes with summaries and from other devices, and survives a reload", async () => {
  const storage = new MemoryStorage();
  const { play, socket } = await Play.online([summary(1)], { options: { storage } });
  assert.equal(play.chat.match("m1")?.private_read, false);
  const changed = play.next("match", ({ change }) => change === "changed");
  const set = play.chat.setPrivateRead("m1", true);
  const asked = await socket.expect("match.set");
  includes(asked, { match: "m1", private_read: true });
  socket.ok(asked);
  await Promise.all([set, changed]);
  await play.chat.close();

  const after = new Play({ storage });
  await after.chat.open();
  assert.equal(after.chat.match("m1")?.private_read, true);
  after.chat.connect();
  const { socket: next } = await after.welcome([summary(1, { private_read: true })]);
  assert.equal(after.chat.match("m1")?.private_read, true);
  next.push({ type: "match.settings", match: "m1", private_read: false });
  assert.equal(after.chat.match("m1")?.private_read, false);
  await after.chat.close();
});

test("whether somebody looks is told once, and again in the next hello", async () => {
  const { play, socket, hello } = await Play.online();
  assert.equal("client_state" in hello, false);
  play.chat.setClientState("inactive");
  play.chat.setClientState("inactive");
  assert.deepEqual(
    socket.inbox.map(({ type, state }) => [type, state]),
    [["client_state", "inactive"]],
  );
  socket.cut();
  play.chat.connect();
  const next = await play.welcome([]);
  assert.equal(next.hello.client_state, "inactive");
  assert.deepEqual(next.socket.inbox, []);
  play.chat.setClientState("active");
  assert.equal((await next.socket.expect("client_state")).state, "active");
  await play.chat.close();
});

test("what changes while hello is under way is told after welcome", async () => {
  const play = new Play();
  play.chat.connect();
  const { socket, hello } = await play.arrival();
  play.chat.setClientState("inactive");
  assert.deepEqual(socket.inbox, []);
  greet(socket, hello, []);
  assert.equal((await socket.expect("client_state")).state, "inactive");
  await play.chat.close();
});

test("what changes in the middle of a move is told on the new connection, too", async () => {
  const play = new Play();
  play.chat.connect();
  let { socket } = await play.welcome([]);
  const move = async () => {
    socket.push({ type: "going_away", after_ms: 0 });
    return await play.arrival();
  };
  for (const [before, after] of /** @type {const} */ ([
    ["inactive", "active"],
    ["active", "inactive"],
  ])) {
    play.chat.setClientState(before);
    const next = await move();
    assert.equal(next.hello.client_state ?? "active", before);
    play.chat.setClientState(after);
    assert.equal(socket.inbox.at(-1)?.state, after);
    greet(next.socket, next.hello, []);
    assert.equal((await next.socket.expect("client_state")).state, after);
    ({ socket } = next);
  }
  const { socket: last, hello } = await move(); // nothing changes on the way
  const ready = play.next("ready");
  greet(last, hello, []);
  await ready;
  assert.deepEqual(last.inbox, []);
  await play.chat.close();
});

test("a hidden page is inactive by itself, unless a call goes on in it or the app says it itself", async () => {
  const page = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const platform = /** @type {Record<string, unknown>} */ (globalThis);
  const show = (/** @type {string} */ state) => {
    page.visibilityState = state;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  platform.document = page;
  platform.addEventListener = page.addEventListener.bind(page);
  const [play, other] = [new Play(), new Play({ followPage: false })];
  try {
    play.chat.connect();
    const { socket, hello } = await play.welcome([]);
    assert.equal(hello.client_state, "inactive");
    show("visible");
    assert.equal((await socket.expect("client_state")).state, "active");
    const call = /** @type {import("../duologue.js").Call} */ (/** @type {unknown} */ ({}));
    play.chat.calls.current = call;
    show("hidden");
    assert.deepEqual(
      socket.inbox.filter(({ type }) => type === "client_state"),
      [],
    );
    play.chat.calls.current = undefined;
    play.chat.calls.emit("ended", { call, end: { reason: "hung_up", duration_ms: 0 } });
    assert.equal((await socket.expect("client_state")).state, "inactive");
    other.chat.connect();
    assert.equal("client_state" in (await other.welcome([])).hello, false);
  } finally {
    await play.chat.close();
    await other.chat.close();
    delete platform.document;
    delete platform.addEventListener;
  }
});

test("close() is a goodbye", async () => {
  const { play, socket } = await Play.online();
  await play.chat.close();
  assert.equal(socket.closedWith, 1000);
});

test("recording is told and shown apart from writing; a message ends both", async () => {
  const { play, socket } = await Play.online([summary(0)]);
  play.chat.typing("m1");
  play.chat.typing("m1", "recording");
  play.chat.typingStopped("m1");
  const told = socket.inbox.filter(({ type }) => type === "typing").map(({ on, kind }) => [on, kind]);
  assert.deepEqual(told, [
    [true, undefined],
    [false, undefined],
    [true, "recording"],
    [false, "recording"],
  ]);
  socket.push({ type: "typing", match: "m1", user: "bob", on: true });
  socket.push({ type: "typing", match: "m1", user: "bob", on: true, kind: "recording" });
  assert.deepEqual(play.chat.recordingIn("m1"), ["bob"]);
  socket.push({ type: "typing", match: "m1", user: "bob", on: false });
  assert.deepEqual(play.chat.typingIn("m1"), ["bob"]);
  socket.push(message(1));
  assert.deepEqual(play.chat.typingIn("m1"), []);
  await play.chat.close();
});
