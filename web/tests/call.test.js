import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { FakePeerConnection, installMedia } from "./peer_connections.js";
import { Play, summary } from "./play.js";

installMedia();
const { ReceivedSignals, SentSignals } = await import("../duologue/call_signals.js");
const { QualityMeter, levelOf } = await import("../duologue/call_quality.js");
const { wordsOf } = await import("../duologue/call_words.js");
const { LocalMedia } = await import("../duologue.js");

/** @import { Socket } from "./play.js" */

const TIMERS = {
  call_stats_ms: 60_000,
  call_candidates_ms: 5,
  call_ice_restart_ms: 5,
  call_negotiation_ms: 60_000,
  ping_after_ms: 25_000,
  ping_timeout_ms: 10_000,
  sync_delay_ms: 5,
};
const NOTHING = { audio: false, video: false, screen: false };
const SEAT = {
  call: "c1",
  match: "m1",
  peer: "me",
  policy: "relay",
  caller: "alice",
  media: "video",
  mode: "ring",
  started_at: 1,
};
const ICE = {
  ice_servers: [{ urls: ["turn:relay.test"], username: "u1", credential: "p" }],
  ttl_s: 3600,
  expires_at: 1,
};

/** @param {boolean} polite */
function bob(polite) {
  return { peer: "his", user: "bob", initiator: !polite, polite, media: NOTHING, state: "ok" };
}

/** A client in a call, and the server's side of it. */
class CallPlay extends Play {
  /** @type {FakePeerConnection[]} */
  connections = [];

  constructor() {
    /** @type {FakePeerConnection[]} */
    const connections = [];
    super({
      connect: (config) => {
        const connection = new FakePeerConnection(config);
        connections.push(connection);
        return /** @type {RTCPeerConnection} */ (/** @type {unknown} */ (connection));
      },
    });
    this.connections = connections;
  }

  async online() {
    this.chat.connect();
    const { socket } = await this.welcome([summary(1)], [], { timers: TIMERS });
    return socket;
  }

  /** Start a call that bob has answered. @param {{polite?: boolean}} [how] */
  async called({ polite = false } = {}) {
    const socket = await this.online();
    const starting = this.chat.calls.start("m1", { media: "video", local: new LocalMedia() });
    const start = await socket.expect("call.start");
    socket.ok(start, { ...SEAT, state: "connecting", peers: [bob(polite)], ringing: [] });
    const call = await starting;
    socket.ok(await socket.expect("call.ice"), ICE);
    return { socket, call };
  }

  async connection() {
    await until(() => this.connections.length > 0);
    return /** @type {FakePeerConnection} */ (this.connections.at(-1));
  }
}

const AsyncFunction = /** @type {FunctionConstructor} */ ((async () => {}).constructor);

/** @param {() => boolean} holds */
async function until(holds) {
  for (let tries = 0; tries < 2_000 && !holds(); tries += 1) await new Promise((resume) => setTimeout(resume, 2));
  assert.ok(holds(), "it never came about");
}

/** @param {Socket} socket @param {number} n @param {object} signal */
function signal(socket, n, signal) {
  socket.push({ type: "call.signal", call: "c1", peer: "his", n, ...signal });
}

test("signals are applied in order, each once, whatever order they come in", () => {
  const received = new ReceivedSignals();
  const names = (/** @type {{n: number}[]} */ signals) => signals.map(({ n }) => n);
  assert.deepEqual(names(received.offer({ n: 2 })), []);
  assert.equal(received.hasGap, true);
  assert.deepEqual(names(received.offer({ n: 3 })), []);
  assert.deepEqual(names(received.offer({ n: 1 })), [1, 2, 3]);
  assert.deepEqual(names(received.offer({ n: 2 })), []);
  assert.deepEqual([received.have, received.hasGap], [3, false]);
});

test("a sender keeps what the other side may not hold", () => {
  const sent = new SentSignals();
  for (let count = 0; count < 200; count += 1) sent.add({});
  for (let n = 1; n <= 198; n += 1) sent.relayed(n);
  const names = (/** @type {{n: number}[]} */ signals) => signals.map(({ n }) => n);
  assert.deepEqual(names(sent.unconfirmed()), [199, 200]);
  assert.deepEqual(names(sent.after(197)), [198, 199, 200]);
  assert.equal(sent.after(0).length, 128);
});

test("what the README shows of calls is run as it stands there", async () => {
  const play = new CallPlay();
  const socket = await play.online();
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const [, example = ""] = /```js\n(chat\.calls\.on.*?)```/s.exec(readme) ?? [];
  /** @type {unknown[][]} */
  const told = [];
  const tell =
    (/** @type {string} */ what) =>
    (/** @type {unknown[]} */ ...more) =>
      void told.push([what, ...more]);
  const script = new AsyncFunction("chat", "showSheet", "show", "close", example);
  const running = script(play.chat, tell("sheet"), tell("show"), tell("close"));
  socket.ok(await socket.expect("call.start"), { ...SEAT, state: "connecting", peers: [bob(false)], ringing: [] });
  socket.ok(await socket.expect("call.ice"), ICE);
  socket.ok(await socket.expect("call.hangup"));
  await running;
  assert.deepEqual(told.find(([what]) => what === "show")?.[1], "connecting");
  assert.deepEqual(told.find(([what]) => what === "close")?.slice(0, 2), ["close", "hangup"]);
  const incoming = { call: "c2", match: "m1", caller: "bob", media: "video", mode: "ring" };
  socket.push({ type: "call.incoming", ...incoming, age_ms: 0, expires_in_ms: 60_000, joined: ["bob"] });
  assert.equal((await socket.expect("call.ringing")).call, "c2");
  const [, caller, answers] =
    /** @type {[string, string, {accept: () => Promise<unknown>, decline: () => Promise<unknown>}]} */ (
      told.find(([what]) => what === "sheet")
    );
  assert.equal(caller, "bob");
  const declined = answers.decline();
  socket.ok(await socket.expect("call.decline"));
  await declined;
  await play.chat.close();
});

test("the initiator offers with the relay it was given, sends candidates in batches and takes the answer", async () => {
  const play = new CallPlay();
  const { socket, call } = await play.called();
  const offer = await socket.expect("call.signal");
  const pc = await play.connection();
  assert.equal(/** @type {{type: string}} */ (offer.description).type, "offer");
  assert.deepEqual([offer.to, offer.n], ["his", 1]);
  assert.deepEqual(Object.values(/** @type {object} */ (offer.streams)), ["camera", "screen"]);
  assert.equal(pc.config.iceTransportPolicy, "relay");
  assert.deepEqual(pc.config.iceServers, ICE.ice_servers);
  for (const name of ["one", "two"])
    pc.onicecandidate?.({ candidate: { candidate: name, toJSON: () => ({ candidate: name }) } });
  pc.onicecandidate?.({ candidate: null });
  const batch = await socket.expect("call.signal");
  assert.deepEqual(batch.candidates, [{ candidate: "one" }, { candidate: "two" }]);
  assert.equal(batch.end_of_candidates, true);
  signal(socket, 2, { candidates: [{ candidate: "early" }] });
  signal(socket, 1, { description: { type: "answer", sdp: "v=0" } });
  await until(() => pc.story.includes("candidate"));
  assert.deepEqual(pc.story, ["local offer", "remote answer", "candidate"]);
  assert.equal(call.state, "connecting");
  pc.become("connected");
  assert.equal((await socket.expect("call.state")).ice, "connected");
  assert.equal(call.state, "active");
  await play.chat.close();
});

test("the polite one waits for the first offer and answers it", async () => {
  const play = new CallPlay();
  const { socket } = await play.called({ polite: true });
  signal(socket, 1, { description: { type: "offer", sdp: "v=0\r\na=ice-ufrag:x" } });
  const answer = await socket.expect("call.signal");
  assert.equal(/** @type {{type: string}} */ (answer.description).type, "answer");
  assert.deepEqual((await play.connection()).story, ["remote offer", "local answer"]);
  await play.chat.close();
});

test("when both offer at once the polite one gives way and the impolite one goes on", async () => {
  for (const polite of [true, false]) {
    const play = new CallPlay();
    const { socket, call } = await play.called({ polite });
    if (polite) {
      signal(socket, 1, { description: { type: "offer", sdp: "v=0\r\na=ice-ufrag:x" } });
      await socket.expect("call.signal");
      void call.restartIce();
      socket.ok(await socket.expect("call.ice"), ICE);
    }
    await socket.expect("call.signal");
    const pc = await play.connection();
    await until(() => pc.signalingState === "have-local-offer");
    signal(socket, polite ? 2 : 1, { description: { type: "offer", sdp: "v=0\r\na=ice-ufrag:x" } });
    if (polite) await until(() => pc.story.includes("rollback"));
    else {
      signal(socket, 2, { candidates: [{ candidate: "of the offer that is not taken" }] });
      await until(() => pc.story.includes("candidate"));
    }
    assert.equal(pc.story.includes("rollback"), polite);
    assert.equal(pc.story.includes("remote offer"), polite);
    await play.chat.close();
  }
});

test("after a lost socket the seat is taken again and both sides send what the other misses", async () => {
  const play = new CallPlay();
  const { socket, call } = await play.called();
  const offer = await socket.expect("call.signal"); // never confirmed
  const pc = await play.connection();
  signal(socket, 1, { description: { type: "answer", sdp: "v=0" } });
  await until(() => pc.signalingState === "stable");
  pc.become("connected");
  socket.push({ type: "call.quality", call: "c1", peer: "his", level: "poor" });
  const lost = play.next("status", ({ state }) => state === "offline");
  socket.cut();
  await lost;
  assert.equal(call.state, "active");
  assert.equal(call.online, false);
  play.chat.connect();
  const { socket: second } = await play.welcome([summary(1)], [], { timers: TIMERS });
  const resume = await second.expect("call.resume");
  assert.deepEqual([resume.peer, resume.have], ["me", { his: 1 }]);
  second.ok(resume, { ...SEAT, state: "active", peers: [bob(false)], ringing: [] });
  const again = await second.expect("call.signal");
  assert.equal(call.participants[0]?.theirLevel, undefined); // a change may have been missed
  assert.deepEqual([again.n, again.description], [1, offer.description]);
  second.ok(again);
  assert.equal((await second.expect("call.state")).ice, "connected");
  second.push({ type: "call.peer_state", call: "c1", peer: "his", state: "ok", have: 0 });
  assert.equal((await second.expect("call.signal")).n, 1);
  assert.deepEqual(play.connections.length, 1);
  await play.chat.close();
});

test("an interrupted connection is restarted with fresh credentials", async () => {
  const play = new CallPlay();
  const { socket, call } = await play.called();
  await socket.expect("call.signal");
  const pc = await play.connection();
  signal(socket, 1, { description: { type: "answer", sdp: "v=0" } });
  await until(() => pc.signalingState === "stable");
  pc.become("connected");
  const restarting = call.restartIce();
  const fresh = { ...ICE, ice_servers: [{ urls: ["turn:relay.test"], username: "u2", credential: "q" }] };
  socket.ok(await socket.expect("call.ice"), fresh);
  await restarting;
  assert.equal(pc.config.iceServers?.[0]?.username, "u2");
  const offer = await socket.expect("call.signal");
  assert.match(/** @type {{sdp: string}} */ (offer.description).sdp, /-1\r/);
  pc.become("disconnected");
  await until(() => pc.restarts === 2);
  await play.chat.close();
});

test("a call that ended elsewhere, or whose seat is gone, is over here", async () => {
  const play = new CallPlay();
  const { socket, call } = await play.called();
  const pc = await play.connection();
  socket.push({ type: "call.ended", call: "c1", reason: "hangup", by: "bob", duration_ms: 222_000 });
  assert.deepEqual(call.end, { reason: "hangup", by: "bob", duration_ms: 222_000 });
  assert.equal(call.state, "ended");
  assert.equal(pc.story.at(-1), "close");
  assert.equal(play.chat.calls.current, undefined);
  await play.chat.close();
});

test("hung up without a connection is said when it is back", async () => {
  const play = new CallPlay();
  const { socket, call } = await play.called();
  const lost = play.next("status", ({ state }) => state === "offline");
  socket.cut();
  await lost;
  await call.hangUp();
  play.chat.connect();
  const { socket: second } = await play.welcome([summary(1)], [], { timers: TIMERS });
  assert.equal((await second.expect("call.hangup")).call, "c1");
  await play.chat.close();
});

test("it rings until it is answered elsewhere, its time is over, or it is not repeated", async () => {
  const play = new CallPlay();
  const socket = await play.online();
  /** @type {string[]} */
  const stopped = [];
  play.chat.calls.on("stopped", ({ call, reason }) => void stopped.push(`${call} ${reason}`));
  const incoming = {
    type: "call.incoming",
    match: "m1",
    caller: "bob",
    media: "audio",
    mode: "ring",
    age_ms: 0,
    joined: ["bob"],
  };
  socket.push({ ...incoming, call: "c1", expires_in_ms: 60_000 });
  socket.push({ ...incoming, call: "c2", expires_in_ms: 5 });
  assert.deepEqual(
    play.chat.calls.incoming().map(({ call }) => call),
    ["c1", "c2"],
  );
  await until(() => stopped.length === 1);
  socket.push({ type: "call.cancelled", call: "c1", reason: "answered_elsewhere" });
  assert.deepEqual(stopped, ["c2 no_answer", "c1 answered_elsewhere"]);
  socket.push({ ...incoming, call: "c3", expires_in_ms: 60_000 });
  const accepting = play.chat.calls.accept("c3", { local: new LocalMedia() });
  socket.refuse(await socket.expect("call.accept"), "answered_elsewhere");
  await assert.rejects(accepting, { code: "answered_elsewhere" });
  assert.deepEqual(play.chat.calls.incoming(), []);
  await play.chat.close();
});

test("what goes on in a match can be joined by whoever ignored or left it, until the log says that it is over", async () => {
  const play = new CallPlay();
  const socket = await play.online();
  const { calls } = play.chat;
  const entry = { type: "call", match: "m1", call: "c1", media: "video", caller: "bob", started_at: 1 };
  const at = 1_795_000_000_000_000;
  socket.push({ ...entry, seq: 2, created_at: at + 2, state: "ringing", participants: ["bob", "alice"] });
  const incoming = {
    type: "call.incoming",
    call: "c1",
    match: "m1",
    caller: "bob",
    media: "video",
    mode: "ring",
    age_ms: 0,
    expires_in_ms: 60_000,
  };
  socket.push({ ...incoming, joined: ["bob"] });
  assert.equal(calls.ongoing("m1"), undefined);
  calls.ignore("c1");
  assert.deepEqual(calls.ongoing("m1"), {
    call: "c1",
    match: "m1",
    media: "video",
    users: ["bob", "alice"],
    mine: false,
  });
  socket.push({ ...incoming, joined: ["bob"] });
  assert.equal(calls.incoming().length, 1);
  socket.push({ ...incoming, type: "call.snapshot", state: "active", started_at: 1, peers: [], ringing: [] });
  assert.deepEqual(calls.incoming(), []);
  const joining = calls.join("c1", { local: new LocalMedia() });
  socket.ok(await socket.expect("call.join"), { ...SEAT, state: "connecting", peers: [bob(true)], ringing: ["cy"] });
  const call = await joining;
  assert.equal(calls.ongoing("m1"), undefined);
  socket.push({ type: "call.ringing", call: "c1", user: "cy" });
  assert.deepEqual(call.ringing, [{ user: "cy", alerted: true }]);
  socket.push({ type: "call.ringing", call: "c1", user: "cy", reason: "declined" });
  assert.deepEqual(call.ringing, []);
  socket.push({ type: "call.quality", call: "c1", peer: "his", level: "poor" });
  assert.equal(call.participants[0]?.theirLevel, "poor");
  socket.push({ type: "call.ended", call: "c1", reason: "hangup" });
  assert.equal(calls.ongoing("m1")?.call, "c1");
  socket.push({ ...entry, seq: 3, created_at: at + 3, state: "completed", duration_ms: 1 });
  assert.equal(calls.ongoing("m1"), undefined);
  await play.chat.close();
});

test("a missed call counts as unread, for who was called", async () => {
  const play = new CallPlay();
  const socket = await play.online();
  const entry = {
    type: "call",
    match: "m1",
    call: "c1",
    media: "audio",
    started_at: 1,
    created_at: 1_795_000_000_000_002,
  };
  socket.push({ ...entry, seq: 2, caller: "bob", state: "ringing" });
  assert.equal(play.chat.unread, 0);
  socket.push({ ...entry, seq: 3, caller: "bob", state: "missed", n: 2, created_at: 1_795_000_000_000_003 });
  assert.equal(play.chat.unread, 1);
  play.chat.read("m1");
  socket.push({
    ...entry,
    call: "c2",
    seq: 4,
    caller: "alice",
    state: "missed",
    n: 3,
    created_at: 1_795_000_000_000_004,
  });
  assert.equal(play.chat.unread, 0);
  await play.chat.close();
});

test("both sides get the same words, others other ones", async () => {
  const [a, b, c] = ["AA:01", "BB:02", "CC:03"].map(
    (print) => `v=0\r\na=fingerprint:sha-256 ${print}\r\na=fingerprint:sha-256 ${print}\r\n`,
  );
  const words = await wordsOf(a, b);
  assert.equal(words?.length, 8);
  assert.deepEqual(await wordsOf(b, a), words);
  assert.notDeepEqual(await wordsOf(a, c), words);
  assert.equal(await wordsOf(a, undefined), undefined);
});

test("statistics become numbers since the last time, and one of four levels", () => {
  const meter = new QualityMeter();
  const report = (/** @type {number} */ received, /** @type {number} */ lost, /** @type {number} */ frames) => [
    { type: "transport", selectedCandidatePairId: "p" },
    { id: "p", type: "candidate-pair", localCandidateId: "l", remoteCandidateId: "r", currentRoundTripTime: 0.12 },
    { id: "l", type: "local-candidate", candidateType: "relay", relayProtocol: "tcp" },
    { id: "r", type: "remote-candidate", candidateType: "srflx" },
    {
      type: "inbound-rtp",
      kind: "video",
      packetsReceived: received,
      packetsLost: lost,
      framesDecoded: frames,
      bytesReceived: received * 1000,
      jitter: 0.01,
    },
    { type: "outbound-rtp", bytesSent: received * 500 },
  ];
  meter.sample(report(0, 0, 0), 1000);
  const sample = meter.sample(report(90, 10, 24), 2000);
  assert.deepEqual(sample, {
    silent_ms: 0,
    freezes: 0,
    rtt_ms: 120,
    jitter_ms: 10,
    loss: 0.1,
    fps: 24,
    kbps_in: 720,
    kbps_out: 360,
  });
  assert.deepEqual(meter.route, { local: "relay", remote: "srflx", protocol: "tcp" });
  const expected = { video: true, anything: true };
  assert.equal(levelOf(sample, expected), "poor");
  assert.equal(levelOf({ loss: 0.03 }, expected), "good");
  assert.equal(levelOf({ rtt_ms: 40, loss: 0.001, fps: 25 }, expected), "excellent");
  assert.equal(levelOf({ silent_ms: 6000 }, expected), "lost");
  assert.equal(levelOf({ silent_ms: 6000 }, { video: false, anything: false }), "excellent");
});
