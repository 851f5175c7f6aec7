/**
 * All about calls that is not one call: those that come in, those that could be joined, the one this client is in.
 *
 *     chat.calls.on("incoming", ({ call }) => { chat.calls.alerting(call); showSheet(call); });
 *     const call = await chat.calls.start("m1", { media: "video" });
 *     call.on("change", () => show(call.participants));
 *
 * Guarantees: what rings stops ringing by itself, whatever gets lost; a seat is resumed after every reconnect.
 */

/** @import { CallKind, CallPush, CallSeat, IncomingPush, SnapshotPush } from "./call_types.js" */
/** @import { CallEnd } from "./call.js" */
/** @import { CallTestReport, CallTestStep } from "./call_test.js" */
/** @import { CallEntry, Limits, Timers } from "./protocol.js" */

import { Call } from "./call.js";
import { LocalMedia } from "./call_media.js";
import { runCallTest } from "./call_test.js";
import { Emitter } from "./emitter.js";
import { uuid7 } from "./ids.js";
import { DuologueError } from "./protocol.js";

/**
 * @typedef {object} Incoming Somebody calls.
 * @property {string} call
 * @property {string} match
 * @property {string} caller
 * @property {CallKind} media
 * @property {number} expires_at_ms `Date.now()` at which it stops ringing.
 * @property {boolean} in_call This user is in another call.
 * @property {string[]} joined
 */
/**
 * @typedef {object} OngoingCall A call of one of my matches that this client is not in.
 * @property {string} call
 * @property {string} match
 * @property {CallKind} media
 * @property {string[]} users Who is in it.
 * @property {boolean} mine This user is in it, on another device: join with `takeover`.
 */
/**
 * @typedef {object} CallsEvents
 * @property {Incoming} incoming It rings. Say `alerting` when the device really does.
 * @property {{call: string, match: string, reason: string}} stopped It does not ring any more.
 * @property {Call} joined This client has a seat.
 * @property {{call: Call, end: CallEnd}} ended This client's call is over.
 * @property {{match: string}} ongoing What could be joined in a match changed; see `ongoing()`.
 */
/**
 * @typedef {object} CallWish
 * @property {CallKind} [media] `audio` by default.
 * @property {LocalMedia} [local] Devices that are open already; else they are opened when the seat is taken.
 * @property {boolean} [relay_only] Never show this client's address to the others.
 * @property {boolean} [replace] Leave the call this user is in.
 */
/**
 * @typedef {object} CallsOptions
 * @property {<Answer>(message: {type: string} & Record<string, unknown>) => Promise<Answer>} request
 * @property {() => boolean} online
 * @property {() => string} user
 * @property {() => Timers} timers
 * @property {() => Limits} limits
 * @property {((config: RTCConfiguration) => RTCPeerConnection) | undefined} [connect]
 */

/** The server repeats what rings right after `welcome`; what is not repeated is over. */
const REPEATED_WITHIN_MS = 3_000;

/** @extends {Emitter<CallsEvents & Record<string, unknown>>} */
export class Calls extends Emitter {
  /** The call this client is in. @type {Call | undefined} */
  current;

  /** @type {Map<string, Incoming & {timer: ReturnType<typeof setTimeout>, repeatedAtMs: number}>} */
  #incoming = new Map();
  /** @type {Map<string, OngoingCall>} */
  #ongoing = new Map();
  /** @type {Map<string, OngoingCall>} What the log says of each match: those who ignored a call, or left it, may join still. */
  #live = new Map();
  /** @type {Set<string>} Hung up while there was no connection. */
  #toHangUp = new Set();
  /** @type {Map<string, CallPush[]>} Pushes for a seat whose answer is still under way. */
  #early = new Map();
  #asking = 0;

  /** @param {CallsOptions} options */
  constructor(options) {
    super();
    this.options = options;
  }

  /** What rings now, the oldest first. @returns {Incoming[]} */
  incoming() {
    return [...this.#incoming.values()];
  }

  /** The live call of a match that this client could join. @param {string} match */
  ongoing(match) {
    const told = [...this.#ongoing.values(), ...this.#live.values()];
    return told.find(
      (each) => each.match === match && each.call !== this.current?.id && !this.#incoming.has(each.call),
    );
  }

  // ---- what one can do

  /**
   * Call the others of a match. Throws `DuologueError`: `call_exists`, `in_other_call`, `call_refused`, `rate_limited`…
   * @param {string} match
   * @param {CallWish & {users?: string[], mode?: "ring" | "prompt"}} [wish] `users`: whom to ring, if not all.
   * @returns {Promise<Call>}
   */
  start(match, { users, mode, ...wish } = {}) {
    const whom = users ? { users } : {};
    return this.#seat({ type: "call.start", match, ...whom, ...(mode ? { mode } : {}) }, wish);
  }

  /** Answer a call that rings. Throws `answered_elsewhere` or `call_over` when it was too late. @param {string} call @param {CallWish} [wish] */
  async accept(call, wish = {}) {
    try {
      const taken = await this.#seat({ type: "call.accept", call }, wish);
      this.#stop(call, "accepted");
      return taken;
    } catch (problem) {
      if (problem instanceof DuologueError && problem.code !== "offline" && problem.code !== "in_other_call") {
        this.#stop(call, problem.code);
      }
      throw problem;
    }
  }

  /** Join a call that goes on. `takeover`: from another device of this user. @param {string} call @param {CallWish & {takeover?: boolean}} [wish] */
  join(call, { takeover = false, ...wish } = {}) {
    return this.#seat({ type: "call.join", call, ...(takeover ? { takeover } : {}) }, wish);
  }

  /** Say no, on all devices of this user. @param {string} call @param {{busy?: boolean}} [why] */
  async decline(call, { busy = false } = {}) {
    this.#stop(call, "declined");
    await this.options.request({ type: "call.decline", call, ...(busy ? { busy } : {}) });
  }

  /** Stop ringing here; nobody is told. @param {string} call */
  ignore(call) {
    this.#stop(call, "ignored");
  }

  /** This device really rings: the caller is told. @param {string} call */
  alerting(call) {
    this.options.request({ type: "call.ringing", call }).catch(() => {});
  }

  /**
   * Try out devices, every relay and the way through it, before a call needs them.
   * @param {(step: CallTestStep) => void} [told] Each finding as it comes.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<CallTestReport>}
   */
  test(told = () => {}, { signal } = {}) {
    const { request, connect = makeConnection } = this.options;
    return runCallTest({ request, connect, told, ...(signal ? { signal } : {}) });
  }

  // ---- what the client hands in

  /** @param {CallPush} push */
  heard(push) {
    if (push.type === "call.incoming") return this.#rings(push);
    if (push.type === "call.cancelled") return this.#stop(push.call, push.reason);
    if (push.type === "call.joined") return this.#elsewhere(push.call, push.match);
    if (push.type === "call.snapshot" && push.call !== this.current?.id) return this.#known(push);
    if (push.type === "call.ended") this.#gone(push.call, push.reason);
    if (this.current?.id === push.call) this.current.heard(push);
    else if (this.#asking > 0) this.#early.set(push.call, [...(this.#early.get(push.call) ?? []), push]);
  }

  /** What the log says of a call, also when its push was lost. @param {CallEntry} entry */
  logged({ call, match, media, participants, state }) {
    if (state === "ringing" || state === "ongoing") {
      this.#live.set(match, { call, match, media, users: [...(participants ?? [])], mine: false });
      return this.emit("ongoing", { match });
    }
    if (this.#live.get(match)?.call === call) this.#live.delete(match);
    this.#gone(call, state);
    this.emit("ongoing", { match });
  }

  /** Connected, by a new socket. */
  connected() {
    const before = Date.now();
    void this.current?.resume();
    for (const call of this.#toHangUp) void this.#hangUp(call);
    for (const match of this.#forgetOngoing()) this.emit("ongoing", { match });
    const rang = [...this.#incoming.values()];
    setTimeout(() => {
      for (const { call } of rang) {
        const now = this.#incoming.get(call);
        if (now && now.repeatedAtMs < before && this.options.online()) this.#stop(call, "cancelled");
      }
    }, REPEATED_WITHIN_MS);
  }

  /** The connection came or went. */
  statusChanged() {
    this.current?.connectionChanged();
  }

  /** Signed out: nothing rings, the call is left. */
  close() {
    for (const call of [...this.#incoming.keys()]) this.#stop(call, "ignored");
    void this.current?.hangUp().catch(() => {});
  }

  // ---- inside

  /**
   * @param {{type: string} & Record<string, unknown>} request
   * @param {CallWish} wish
   */
  async #seat(request, { media = "audio", local, relay_only, replace }) {
    const devices = local ?? new LocalMedia();
    // Permission is asked for at once, and not waited for: the other side should not either.
    if (!local) void devices.open({ audio: true, video: media === "video" });
    const wishes = { ...(relay_only ? { relay_only } : {}), ...(replace ? { replace } : {}) };
    this.#asking += 1;
    try {
      if (replace) await this.current?.hangUp().catch(() => {});
      /** @type {CallSeat} */
      const seat = await this.#ask({ ...request, client_id: uuid7(), media, ...wishes });
      return this.#sit(seat, devices);
    } catch (problem) {
      devices.close();
      throw problem;
    } finally {
      this.#asking -= 1;
      if (this.#asking === 0) this.#early = new Map();
    }
  }

  /** An answer that got lost with its connection is asked for again: the key makes it the same seat. @param {{type: string} & Record<string, unknown>} request @returns {Promise<CallSeat>} */
  async #ask(request) {
    try {
      return await this.options.request(request);
    } catch (problem) {
      if (!(problem instanceof DuologueError) || problem.code !== "timeout") throw problem;
      return await this.options.request(request);
    }
  }

  /** @param {CallSeat} seat @param {LocalMedia} local */
  #sit(seat, local) {
    const { request, online, timers, limits, connect = makeConnection } = this.options;
    const call = new Call(seat, {
      local,
      connect,
      request: (message) => (message.type === "call.hangup" ? this.#leave(seat.call, message) : request(message)),
      online,
      timers,
      limits,
      over: (over) => this.#over(over),
    });
    this.current = call;
    this.#stop(seat.call, "accepted");
    this.#ongoing.delete(seat.call);
    for (const push of this.#early.get(seat.call) ?? []) call.heard(push);
    this.emit("joined", call);
    return call;
  }

  /** @param {string} call @param {{type: string} & Record<string, unknown>} message @returns {Promise<any>} */
  async #leave(call, message) {
    this.#toHangUp.add(call);
    try {
      const answer = await this.options.request(message);
      this.#toHangUp.delete(call);
      return answer;
    } catch (problem) {
      // Said again when the connection is back.
      if (problem instanceof DuologueError && problem.code !== "offline" && problem.code !== "timeout") {
        this.#toHangUp.delete(call);
      }
      return {};
    }
  }

  /** @param {string} call */
  async #hangUp(call) {
    await this.#leave(call, { type: "call.hangup", call, reason: "hangup" });
  }

  /** @param {Call} call */
  #over(call) {
    if (this.current === call) this.current = undefined;
    if (call.end) this.emit("ended", { call, end: call.end });
  }

  /** @param {IncomingPush} push */
  #rings({ call, match, caller, media, expires_in_ms, in_call = false, joined }) {
    const known = this.#incoming.get(call);
    clearTimeout(known?.timer);
    const timer = setTimeout(() => this.#stop(call, "no_answer"), expires_in_ms);
    const now = Date.now();
    const incoming = { call, match, caller, media, in_call, joined, expires_at_ms: now + expires_in_ms };
    this.#incoming.set(call, { ...incoming, timer, repeatedAtMs: now });
    if (!known) this.emit("incoming", incoming);
  }

  /** @param {string} call @param {string} reason */
  #stop(call, reason) {
    const incoming = this.#incoming.get(call);
    if (!incoming) return;
    clearTimeout(incoming.timer);
    this.#incoming.delete(call);
    this.emit("stopped", { call, match: incoming.match, reason });
    this.emit("ongoing", { match: incoming.match });
  }

  /** Another device of this user is in it. @param {string} call @param {string} match */
  #elsewhere(call, match) {
    const known = this.#incoming.get(call) ?? this.#live.get(match);
    const media = known?.call === call ? known.media : "audio";
    this.#ongoing.set(call, { call, match, media, users: [this.options.user()], mine: true });
    this.emit("ongoing", { match });
  }

  /** @param {SnapshotPush} push */
  #known({ call, match, media, state, peers }) {
    if (state === "ended") return this.#gone(call, "ended");
    const users = peers.map(({ user }) => user);
    const mine = users.includes(this.options.user());
    this.#ongoing.set(call, { call, match, media, users, mine });
    // What can be joined does not ring, or no more: what said so was lost.
    this.#stop(call, mine ? "answered_elsewhere" : "cancelled");
    this.emit("ongoing", { match });
  }

  /** @param {string} call @param {string} reason */
  #gone(call, reason) {
    this.#stop(call, reason);
    const known = this.#ongoing.get(call);
    if (!known) return;
    this.#ongoing.delete(call);
    this.emit("ongoing", { match: known.match });
  }

  /** Those that go on are told again after every `welcome`. */
  #forgetOngoing() {
    const matches = new Set([...this.#ongoing.values(), ...this.#live.values()].map(({ match }) => match));
    this.#ongoing.clear();
    this.#live.clear();
    return matches;
  }
}

/** @param {RTCConfiguration} config */
function makeConnection(config) {
  return new RTCPeerConnection(config);
}
