import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../duologue/backoff.js";
import { uuid7 } from "../duologue/ids.js";
import { Liveness } from "../duologue/liveness.js";
import { comesBack, DuologueError } from "../duologue/protocol.js";
import { greet, includes, message, NOW, Play, summary } from "./play.js";

test("4000-4499 come back, 4500-4999 and final RFC codes do not", () => {
  for (const code of [1001, 1006, 1011, 1012, 4000, 4001, 4008, 4499]) assert.equal(comesBack(code), true, `${code}`);
  for (const code of [1000, 1002, 1003, 1007, 1008, 1009, 1010, 4500, 4501, 4999])
    assert.equal(comesBack(code), false, `${code}`);
});

test("the back-off doubles to 20 s with full jitter, and ends with a connection that lived", () => {
  const backoff = new Backoff(() => 0.999_999);
  const waits = Array.from({ length: 8 }, () => backoff.next(0));
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
  assert.equal(backoff.next(60_000), 500);
  assert.equal(new Backoff(() => 0).next(0), 0);
});

test("ids are UUIDv7 and sort in the order they were made", () => {
  const ids = Array.from({ length: 10_000 }, uuid7);
  assert.deepEqual([...ids].sort(), ids);
  assert.equal(new Set(ids).size, ids.length);
  assert(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(ids[0] ?? ""));
});

test("every connection asks for a token first, and a lost one comes back", async () => {
  let tokens = 0;
  const { play, ...first } = await Play.online([], { options: { token: async () => `token ${++tokens}` } });
  assert.equal(first.hello.token, "token 1");
  assert.equal(first.hello.session, undefined);
  const offline = play.next("status", ({ state }) => state === "offline");
  first.socket.cut();
  assert((await offline).retry_at_ms);
  play.chat.connect();
  const second = await play.welcome([]);
  assert.equal(second.hello.token, "token 2");
  assert.equal(second.hello.session, "s1");
  await play.chat.close();
});

test("a token about to expire is renewed on the connection", async () => {
  const { play, socket } = await Play.online();
  socket.push({ type: "token_expiring", in_ms: 60_000 });
  assert.equal((await socket.expect("auth.refresh")).token, "token");
  await play.chat.close();
});

test("a token provider that fails is asked again, one that says no for good is not", async () => {
  let asked = 0;
  const play = new Play({
    token: async () => {
      asked += 1;
      throw asked === 1 ? new Error("no network") : new DuologueError("signed_out", "signed out");
    },
  });
  play.chat.connect();
  assert.equal((await play.next("status", ({ state }) => state === "offline")).reason, "no network");
  play.chat.connect();
  assert.equal((await play.next("status", ({ state }) => state === "closed")).reason, "signed out");
});

test("a final close code ends it and names the reason, a temporary one waits as long as told", async () => {
  const { play, socket } = await Play.online();
  socket.push({ type: "going_away", after_ms: 7_000 });
  const offline = play.next("status", ({ state }) => state === "offline");
  socket.cut(4000);
  const wait = ((await offline).retry_at_ms ?? 0) - Date.now();
  assert(wait > 5_000 && wait <= 7_000, `${wait}`);
  play.chat.connect();
  const again = await play.welcome([]);
  const closed = play.next("status", ({ state }) => state === "closed");
  again.socket.cut(4500);
  assert.equal((await closed).code, 4500);
  await play.chat.close();
});

/** @param {Play} play */
function statuses(play) {
  /** @type {string[]} */
  const told = [];
  play.chat.on("status", ({ state }) => void told.push(state));
  return told;
}

test("sent away, it is welcome elsewhere before it leaves", async () => {
  const { play, ...first } = await Play.online([summary(1)]);
  const told = statuses(play);
  const seqs = play.seqs();
  first.socket.push({ type: "going_away", after_ms: 1 });
  const second = await play.arrival();
  assert.deepEqual([second.hello.session, second.hello.cursors], ["s1", { m1: [1, NOW + 1] }]);
  first.socket.push(message(2)); // the old one goes on meanwhile
  assert.deepEqual(seqs, [2]);
  const ready = play.next("ready");
  greet(second.socket, second.hello, [summary(1)]); // read before the old one told of 2
  second.socket.push(message(2));
  second.socket.push(message(4));
  await ready;
  first.socket.push(message(3)); // and what it still says counts
  first.socket.push({ type: "going_away", after_ms: 0 }); // but what it says of itself
  assert.equal(first.socket.readyState, 1);
  first.socket.cut(4500);
  const last = play.next("entry", ({ seq }) => seq === 5);
  second.socket.push(message(5));
  await last;
  assert.deepEqual(seqs, [2, 3, 4, 5]);
  assert.deepEqual([told, play.chat.status.state], [[], "online"]);
  await play.chat.close();
  assert.equal(second.socket.closedWith, 1000);
});

test("what came over the old connection after hello is not turned back by an older welcome", async () => {
  const { play, ...first } = await Play.online([summary(5)]);
  const seqs = play.seqs();
  first.socket.push({ type: "going_away", after_ms: 0 });
  const second = await play.arrival();
  first.socket.push(message(6));
  for (const match of ["m2", "m3"]) {
    first.socket.push({ type: "match", ...summary(1, { match, last: message(1, "bob", match) }) });
    first.socket.push(message(2, "bob", match));
    await play.chat.send(match, "hello");
  }
  const ready = play.next("ready");
  greet(second.socket, second.hello, [summary(5), summary(1, { match: "m2", last: message(1, "bob", "m2") })]);
  second.socket.push(message(6));
  second.socket.push(message(2, "bob", "m2"));
  await ready;
  assert.deepEqual(seqs, [6, 2, 2]);
  includes(play.chat.match("m1") ?? {}, { last_seq: 6, unread: 1, last: message(6) });
  includes(play.chat.match("m2") ?? {}, { last_seq: 2, unread: 1, last: message(2, "bob", "m2") });
  assert.equal(play.chat.match("m3")?.last_seq, 2); // of which that welcome did not know yet
  assert.equal(play.chat.unread, 3);
  play.chat.read("m1", 6);
  includes(play.chat.match("m1") ?? {}, { read: 6, unread: 0 });
  await play.chat.close();
});

test("what had no answer when it moved is asked again, once, in order", async () => {
  const { play, ...first } = await Play.online([summary(1)]);
  await play.chat.send("m1", "hello");
  const sent = await first.socket.expect("message.send");
  const history = play.chat.history("m1");
  await first.socket.expect("history");
  first.socket.push({ type: "going_away", after_ms: 0 });
  const second = await play.arrival();
  first.socket.cut(4500); // told sooner than the welcome
  const stored = play.next("outbox", ({ state }) => state === "stored");
  greet(second.socket, second.hello, [summary(2)]);
  const again = await second.socket.expect("message.send");
  assert.equal(again.client_id, sent.client_id);
  second.socket.ok(again, { match: "m1", seq: 2, created_at: NOW + 2, duplicate: true });
  second.socket.ok(await second.socket.expect("history"), { match: "m1", messages: [message(1)], complete: true });
  assert.equal((await history).entries.length, 1);
  await stored;
  assert.deepEqual(play.chat.unsent(), []);
  assert.equal(second.socket.inbox.filter(({ type }) => type === "message.send").length, 0);
  await play.chat.close();
});

test("told twice to go while it gets a token, it opens one connection", async () => {
  /** @type {((token: string) => void)[]} */
  const asked = [];
  const play = new Play({ token: () => new Promise((give) => void asked.push(give)) });
  play.chat.connect();
  asked.shift()?.("token");
  const first = await play.welcome([]);
  for (let times = 1; times <= 2; times += 1) {
    first.socket.push({ type: "going_away", after_ms: 0 });
    await new Promise((resume) => setTimeout(resume, 0)); // behind the client's own
  }
  for (const give of asked) give("token");
  const second = await play.arrival();
  const ready = play.next("ready");
  greet(second.socket, second.hello, []);
  await ready;
  assert.equal(play.socketCount, 2);
  await play.chat.close();
});

test("with nowhere to go it stays, tries again, and comes back when it is closed", async () => {
  const { play, socket } = await Play.online();
  const told = statuses(play);
  socket.push({ type: "going_away", after_ms: 0 });
  (await play.socket()).cut();
  const refused = await play.arrival();
  refused.socket.refuse(refused.hello, "unavailable", { retry_after_ms: 1 });
  const pending = await play.arrival();
  assert.deepEqual([told, play.chat.status.state], [[], "online"]);
  const offline = play.next("status", ({ state }) => state === "offline");
  socket.cut(4000);
  await offline;
  assert.equal(pending.socket.readyState, 3);
  play.chat.connect();
  await play.welcome([]);
  await play.chat.close();
});

test("a way out that closes after the old one is gone leads back to the usual", async () => {
  const { play, socket } = await Play.online();
  socket.push({ type: "going_away", after_ms: 0 });
  const next = await play.arrival();
  socket.cut(4500);
  const offline = play.next("status", ({ state }) => state === "offline");
  next.socket.cut(1006);
  await offline;
  await play.chat.close();
});

test("a way out that falls just before the old one is closed for it leads back, too", async () => {
  const { play, socket } = await Play.online();
  socket.push({ type: "going_away", after_ms: 0 });
  (await play.arrival()).socket.cut(1006);
  const offline = play.next("status", ({ state }) => state === "offline");
  socket.cut(4500);
  await offline;
  play.chat.connect();
  const { socket: again } = await play.welcome([]);
  const closed = play.next("status", ({ state }) => state === "closed");
  again.cut(4500);
  assert.equal((await closed).code, 4500);
});

test("a hello refused for now is tried again after the time told", async () => {
  const play = new Play();
  play.chat.connect();
  const socket = await play.socket();
  socket.accept();
  const offline = play.next("status", ({ state }) => state === "offline");
  socket.refuse(await socket.expect("hello"), "unavailable", { retry_after_ms: 9_000 });
  await Promise.resolve();
  socket.cut(4010);
  assert(((await offline).retry_at_ms ?? 0) - Date.now() > 7_000);
  await play.chat.close();
});

test("requests under way fail as offline when the connection goes", async () => {
  const { play, socket } = await Play.online([summary(0)]);
  const history = play.chat.history("m1");
  await socket.expect("history");
  socket.cut();
  await assert.rejects(history, (error) => error.code === "offline");
  await play.chat.close();
});

test("a silent connection is asked, then given up", async () => {
  let asked = 0;
  await /** @type {Promise<void>} */ (
    new Promise((dead) => {
      const liveness = new Liveness({ ask: () => void asked++, dead });
      liveness.start({ ping_after_ms: 5, ping_timeout_ms: 5 });
    })
  );
  assert.equal(asked, 1);
});

test("a connection that answers is kept", async () => {
  let asked = 0;
  await /** @type {Promise<void>} */ (
    new Promise((done) => {
      const liveness = new Liveness({
        ask: () => {
          liveness.heard();
          asked += 1;
          if (asked < 3) return;
          liveness.stop();
          done();
        },
        dead: () => assert.equal("dead", "alive"),
      });
      liveness.start({ ping_after_ms: 3, ping_timeout_ms: 3 });
    })
  );
});

test("after a sleep the connection is asked again, not given up", async () => {
  const realNow = Date.now;
  let asked = 0;
  await /** @type {Promise<void>} */ (
    new Promise((done) => {
      const liveness = new Liveness({
        ask: () => {
          asked += 1;
          if (asked === 1) Date.now = () => realNow() + 3_600_000; // the lid was closed for an hour
        },
        dead: done,
      });
      liveness.start({ ping_after_ms: 2, ping_timeout_ms: 2 });
    })
  );
  Date.now = realNow;
  assert.equal(asked, 2);
});
