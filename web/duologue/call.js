/**
 * One call that this client has a seat in: who else is there, what is sent, how it goes, and how it ended.
 *
 * The picture and sound run between the browsers; a lost socket or a dead server does not end them. When the connection
 * is back the call is resumed: what either side missed is sent again by the one who made it.
 */

/** @import { CallPush, CallSeat, IceAnswer, MediaState, PeerInfo, QualityLevel } from "./call_types.js" */
/** @import { LinkProblem, LinkState } from "./call_link.js" */
/** @import { LocalMedia } from "./call_media.js" */
/** @import { Route, Sample } from "./call_quality.js" */
/** @import { Numbered } from "./call_signals.js" */
/** @import { Word } from "./call_words.js" */
/** @import { Limits, Timers } from "./protocol.js" */

import { PeerLink } from "./call_link.js";
import { Emitter } from "./emitter.js";
import { DuologueError } from "./protocol.js";

/** @typedef {"ringing" | "waiting" | "connecting" | "active" | "reconnecting" | "ended"} CallState */
/**
 * @typedef {object} Participant Another one in the call.
 * @property {string} peer
 * @property {string} user
 * @property {MediaState} media What they send, as they say.
 * @property {MediaStream} stream Their sound and camera: put it in a `<video>`.
 * @property {MediaStream} screenStream Their screen, while `media.screen`.
 * @property {LinkState} state Of the connection to them.
 * @property {boolean} reconnecting They lost their connection to the server, or the one to us is interrupted.
 * @property {QualityLevel} level How well we receive them.
 * @property {QualityLevel | undefined} theirLevel How well they receive, as they told the server.
 * @property {Sample} sample The last measurement.
 * @property {Route | undefined} route Kinds of addresses that the media takes: `relay` is a TURN server.
 * @property {LinkProblem | undefined} problem
 */
/** @typedef {{reason: string, by?: string, duration_ms: number}} CallEnd */
/**
 * @typedef {object} CallEvents
 * @property {Call} change Anything that is shown changed; told once for many changes.
 * @property {CallEnd} ended
 */
/**
 * @typedef {object} CallOptions
 * @property {LocalMedia} local
 * @property {(config: RTCConfiguration) => RTCPeerConnection} connect
 * @property {<Answer>(message: {type: string} & Record<string, unknown>) => Promise<Answer>} request
 * @property {() => boolean} online
 * @property {() => Timers} timers
 * @property {() => Limits} limits
 * @property {(call: Call) => void} over It ended: forget it.
 */

/** Credentials younger than this are not asked for again: two who restart at once need one answer. */
const FRESH_MS = 3_000;
const MEASURE_MS = 2_000;
const ROUTES = new Set(["host", "srflx", "prflx", "relay"]);
const TRANSPORTS = new Set(["udp", "tcp", "tls"]);
/** Codes of errors that say that the seat is gone. */
const GONE = new Set(["call_over", "not_in_call", "not_found", "not_member", "call_refused"]);

/**
 * Made by `Calls`: `start`, `accept`, `join`.
 * @extends {Emitter<CallEvents & Record<string, unknown>>}
 */
export class Call extends Emitter {
  /** How it ended, or undefined. @type {CallEnd | undefined} */
  end;
  /** When the first picture or sound could pass, as `Date.now()`. @type {number | undefined} */
  connectedAtMs;
  /** Nobody's relay could be had: connections through strict firewalls may fail. */
  degraded = false;

  /** @type {Map<string, {info: PeerInfo, link: PeerLink, away: boolean, theirLevel?: QualityLevel | undefined}>} */
  #peers = new Map();
  /** @type {Set<string>} */
  #ringing = new Set();
  /** @type {Set<string>} Whose devices ring in earnest. */
  #alerted = new Set();
  /** @type {{answer: Promise<IceAnswer>, atMs: number, goodUntilMs: number} | undefined} */
  #ice;
  #resuming = false;
  #resumeAgain = false;
  #told = "";
  #changeDue = false;
  #reportedAtMs = 0;
  /** @type {ReturnType<typeof setInterval>} */
  #measuring;
  #offLocal;

  /**
   * @param {CallSeat} seat
   * @param {CallOptions} options
   */
  constructor(seat, options) {
    super();
    this.options = options;
    this.id = seat.call;
    this.match = seat.match;
    this.caller = seat.caller;
    this.media = seat.media;
    this.mode = seat.mode;
    /** This client's own seat. */
    this.peer = seat.peer;
    /** Both called each other at once. */
    this.glare = seat.glare ?? false;
    this.policy = seat.policy;
    this.#offLocal = this.local.on("change", () => this.#localChanged());
    this.#measuring = setInterval(() => void this.#measure(), Math.min(MEASURE_MS, options.timers().call_stats_ms));
    void this.#config(false).catch(() => {});
    this.#take(seat);
    this.#tellMedia();
  }

  /** What this client sends: devices, muting, problems with permissions. */
  get local() {
    return this.options.local;
  }

  /** @returns {CallState} */
  get state() {
    if (this.end) return "ended";
    const links = [...this.#peers.values()];
    if (!links.length) return this.#ringing.size ? "ringing" : "waiting";
    if (links.some(({ link }) => link.state === "connected")) return "active";
    return this.connectedAtMs === undefined ? "connecting" : "reconnecting";
  }

  /** The connection to the server is there. A call goes on without for half a minute. */
  get online() {
    return this.options.online();
  }

  /** The others. @returns {Participant[]} */
  get participants() {
    return [...this.#peers.values()].map(({ info, link, away, theirLevel }) => ({
      peer: info.peer,
      user: info.user,
      media: info.media,
      stream: link.stream,
      screenStream: link.screenStream,
      state: link.state,
      reconnecting: away || (link.wasConnected && link.state !== "connected"),
      level: link.level,
      theirLevel,
      sample: link.sample,
      route: link.meter.route,
      problem: link.problem,
    }));
  }

  /** Users who are being called. `alerted`: a device of theirs rings. @returns {{user: string, alerted: boolean}[]} */
  get ringing() {
    return [...this.#ringing].map((user) => ({ user, alerted: this.#alerted.has(user) }));
  }

  /** How long it has lasted since the first connection. */
  get durationMs() {
    if (this.end) return this.end.duration_ms;
    return this.connectedAtMs === undefined ? 0 : Date.now() - this.connectedAtMs;
  }

  // ---- what one can do

  /** @param {boolean} on */
  setAudio(on) {
    return this.local.setAudio(on);
  }

  /** @param {boolean} on */
  setVideo(on) {
    return this.local.setVideo(on);
  }

  /** Resolves to whether the screen is shared now. @param {boolean} on */
  setScreen(on) {
    return this.local.setScreen(on);
  }

  /** Ring further members of the match. @param {string[]} users */
  async invite(users) {
    await this.options.request({ type: "call.invite", call: this.id, users });
    for (const user of users) this.#ringing.add(user);
    this.#changed();
  }

  /** Leave. While it rings: cancel. In a call of two it ends for both. */
  async hangUp(reason = "hangup") {
    if (this.end) return;
    const ringing = this.state === "ringing";
    this.#finish({ reason: ringing && reason === "hangup" ? "cancelled" : reason, duration_ms: this.durationMs });
    await this.options.request({ type: "call.hangup", call: this.id, reason });
  }

  /** Find a new way to everybody, with fresh credentials; sound and picture go on over the old one meanwhile. */
  async restartIce() {
    this.#ice = undefined;
    await Promise.all([...this.#peers.values()].map(({ link }) => link.restart()));
  }

  /**
   * Words to compare aloud with each participant; the same on both sides, or somebody sits in between.
   * @returns {Promise<{user: string, peer: string, words: Word[]}[]>}
   */
  async words() {
    const all = [...this.#peers.values()].map(async ({ info, link }) => {
      const words = await link.words();
      return words ? [{ user: info.user, peer: info.peer, words }] : [];
    });
    return (await Promise.all(all)).flat();
  }

  /** Say how it was, up to a day after. @param {1 | 2 | 3 | 4 | 5} rating @param {string[]} [issues] */
  async feedback(rating, issues = []) {
    await this.options.request({ type: "call.feedback", call: this.id, rating, issues });
  }

  /** Measure every connection now. */
  async measure() {
    await Promise.all([...this.#peers.values()].map(({ link }) => link.measure()));
    this.#changed();
  }

  /** The links' own counters, for tests and curious people: pictures decoded and the way taken, by participant. */
  get traffic() {
    return [...this.#peers.values()].map(({ info, link }) => ({
      user: info.user,
      framesDecoded: link.meter.framesDecoded,
      route: link.meter.route,
      ...link.sample,
    }));
  }

  // ---- what `Calls` hands in

  /** Something from the server about this call. @param {CallPush} push */
  heard(push) {
    switch (push.type) {
      case "call.ringing":
        this.#rings(push.user, push.reason);
        break;
      case "call.peer_joined":
        this.#seated(push.peer);
        this.#tellMediaAgain();
        break;
      case "call.peer_left":
        this.#left(push.peer, push.user, push.reason);
        break;
      case "call.peer_state":
        this.#peerState(push.peer, push.state, push.have ?? undefined);
        if (push.state === "ok") this.#tellMediaAgain();
        break;
      case "call.signal":
        this.#peers.get(push.peer)?.link.receive(push);
        return;
      case "call.media":
        this.#peerMedia(push.peer, push.media);
        break;
      case "call.quality":
        this.#peerLevel(push.peer, push.level);
        break;
      case "call.snapshot":
        void this.resume();
        return;
      case "call.ended":
        this.#finish({
          reason: push.reason,
          ...(push.by === undefined ? {} : { by: push.by }),
          duration_ms: push.duration_ms ?? this.durationMs,
        });
        break;
      default:
        return;
    }
    this.#changed();
  }

  /** The connection is a new one: take the seat again, exchange what was missed. */
  async resume() {
    this.#resumeAgain = true;
    if (this.#resuming || this.end) return;
    this.#resuming = true;
    try {
      while (this.#resumeAgain && !this.end) {
        this.#resumeAgain = false;
        await this.#resumeOnce();
      }
    } finally {
      this.#resuming = false;
    }
  }

  /** The connection went or came back. */
  connectionChanged() {
    this.#changed();
  }

  // ---- inside

  async #resumeOnce() {
    const have = Object.fromEntries([...this.#peers].map(([peer, { link }]) => [peer, link.have]));
    try {
      /** @type {CallSeat} */
      const seat = await this.options.request({ type: "call.resume", call: this.id, peer: this.peer, have });
      if (this.end) return;
      this.#take(seat);
      for (const { link } of this.#peers.values()) link.resumed();
      this.#tellMediaAgain();
    } catch (problem) {
      if (problem instanceof DuologueError && GONE.has(problem.code)) {
        this.#finish({ reason: "signaling_lost", duration_ms: this.durationMs });
      } else if (problem instanceof DuologueError && problem.temporary) {
        // The store is away, not the call: it goes on, and is resumed when that can be said again.
        setTimeout(() => this.online && void this.resume(), problem.retry_after_ms ?? 1_000);
      }
    }
  }

  /** @param {CallSeat} seat */
  #take(seat) {
    this.policy = seat.policy;
    this.#ringing = new Set(seat.ringing);
    const present = new Set(seat.peers.map(({ peer }) => peer));
    for (const peer of [...this.#peers.keys()]) if (!present.has(peer)) this.#unseat(peer);
    for (const info of seat.peers) this.#seated(info);
    this.#changed();
  }

  /** @param {PeerInfo} info */
  #seated(info) {
    this.#ringing.delete(info.user);
    const known = this.#peers.get(info.peer);
    if (known) {
      known.info.media = info.media;
      known.away = info.state === "reconnecting";
      known.theirLevel = undefined; // told on change only, and that may have been missed
      return;
    }
    /** @type {PeerLink} */
    const link = new PeerLink(info, {
      connect: this.options.connect,
      config: (fresh) => this.#config(fresh),
      local: this.local,
      timers: this.options.timers,
      send: (signal) => void this.#send(info.peer, link, signal),
      report: (ice) => this.#report(info.peer, link, ice),
      repair: () => void this.resume(),
      changed: () => this.#linkChanged(link),
    });
    this.#peers.set(info.peer, { info, link, away: info.state === "reconnecting" });
    for (const each of this.#peers.values()) void each.link.sendMedia(this.#peers.size);
  }

  /** @param {string} peer @param {string} user @param {string} reason */
  #left(peer, user, reason) {
    if (peer === this.peer) this.#finish({ reason, duration_ms: this.durationMs });
    this.#ringing.delete(user);
    this.#unseat(peer);
  }

  /** @param {string} peer */
  #unseat(peer) {
    this.#peers.get(peer)?.link.close();
    this.#peers.delete(peer);
    for (const each of this.#peers.values()) void each.link.sendMedia(this.#peers.size);
  }

  /** @param {string} peer @param {"ok" | "reconnecting"} state @param {number | undefined} have */
  #peerState(peer, state, have) {
    const known = this.#peers.get(peer);
    if (!known) return;
    known.away = state === "reconnecting";
    if (state === "ok" && have !== undefined) known.link.heldUpTo(have);
  }

  /** @param {string} peer @param {MediaState} media */
  #peerMedia(peer, media) {
    const known = this.#peers.get(peer);
    if (known) known.info.media = media;
  }

  /** @param {string} user @param {string | undefined} reason Why it rings no more. */
  #rings(user, reason) {
    if (reason === undefined) return void this.#alerted.add(user);
    this.#ringing.delete(user);
    this.#alerted.delete(user);
  }

  /** @param {string} peer @param {QualityLevel} level */
  #peerLevel(peer, level) {
    const known = this.#peers.get(peer);
    if (known) known.theirLevel = level;
  }

  /** @param {string} peer @param {PeerLink} link @param {Numbered} signal */
  async #send(peer, link, signal) {
    try {
      await this.options.request({ type: "call.signal", call: this.id, to: peer, ...signal });
      link.relayed(signal.n);
    } catch (problem) {
      // Not connected: `resume` sends it again. Too fast: so does the next moment; order is the receiver's matter.
      if (!(problem instanceof DuologueError) || problem.retry_after_ms === undefined || this.end) return;
      setTimeout(() => !this.end && void this.#send(peer, link, signal), problem.retry_after_ms);
    }
  }

  /** @param {string} peer @param {PeerLink} link @param {"connected" | "disconnected" | "failed"} ice */
  async #report(peer, link, ice) {
    if (ice === "connected") await link.measure().catch(() => {});
    const { route } = link.meter;
    const known = ice === "connected" && route && isKnown(route) ? { route } : {};
    this.#quietly({ type: "call.state", call: this.id, peer, ice, ...known });
  }

  /** @param {PeerLink} link */
  #linkChanged(link) {
    if (link.state === "connected") this.connectedAtMs ??= Date.now();
    this.#changed();
  }

  #localChanged() {
    for (const { link } of this.#peers.values()) void link.sendMedia();
    this.#tellMedia();
    this.#changed();
  }

  /** Who has just come, or come back, may have read the call before this was written. */
  #tellMediaAgain() {
    this.#told = "";
    this.#tellMedia();
  }

  #tellMedia() {
    const { state } = this.local;
    const said = JSON.stringify(state);
    if (said === this.#told || this.end) return;
    this.#told = said;
    this.#quietly({ type: "call.media", call: this.id, ...state });
  }

  /** What the next resume tells anyway. @param {{type: string} & Record<string, unknown>} message */
  #quietly(message) {
    this.options.request(message).catch(() => {});
  }

  /** @param {boolean} fresh @returns {Promise<RTCConfiguration>} */
  async #config(fresh) {
    const now = Date.now();
    const known = this.#ice;
    if (!known || now > known.goodUntilMs || (fresh && now - known.atMs > FRESH_MS)) {
      /** @type {Promise<IceAnswer>} */
      const answer = this.options.request({ type: "call.ice", call: this.id });
      this.#ice = { answer, atMs: now, goodUntilMs: now + 60_000 };
      answer.then(
        ({ ttl_s, degraded }) => {
          // At three quarters of their life new ones are due.
          this.#ice = { answer, atMs: now, goodUntilMs: now + ttl_s * 750 };
          this.degraded = degraded ?? false;
        },
        () => {
          this.#ice = undefined;
        },
      );
    }
    const iceServers = await this.#servers();
    return { iceServers, iceTransportPolicy: this.policy, bundlePolicy: "max-bundle" };
  }

  async #servers() {
    try {
      return (await this.#ice?.answer)?.ice_servers ?? [];
    } catch {
      // Without a relay it may still work; with policy `relay` it cannot, and the link says so.
      return [];
    }
  }

  async #measure() {
    if (this.state !== "active") return;
    await this.measure();
    if (Date.now() - this.#reportedAtMs < this.options.timers().call_stats_ms || this.end) return;
    this.#reportedAtMs = Date.now();
    for (const { info, link } of this.#peers.values()) {
      if (link.state === "connected")
        this.#quietly({ type: "call.stats", call: this.id, peer: info.peer, ...link.sample });
    }
  }

  /** @param {CallEnd} end */
  #finish(end) {
    if (this.end) return;
    this.end = end;
    clearInterval(this.#measuring);
    this.#offLocal();
    for (const peer of [...this.#peers.keys()]) this.#unseat(peer);
    this.local.close();
    this.emit("ended", end);
    this.emit("change", this);
    this.options.over(this);
  }

  #changed() {
    if (this.#changeDue || this.end) return;
    this.#changeDue = true;
    queueMicrotask(() => {
      this.#changeDue = false;
      if (!this.end) this.emit("change", this);
    });
  }
}

/** Whether it is said in words that the server knows. @param {Route} route */
function isKnown({ local, remote, protocol }) {
  return ROUTES.has(local) && ROUTES.has(remote) && TRANSPORTS.has(protocol);
}
