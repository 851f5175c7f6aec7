/**
 * The connection to one other participant: negotiation, candidates, restarts, and the media that comes in.
 *
 * Perfect negotiation as in the WebRTC recommendation, 10.7, with the parts told by the server. Microphone and camera
 * have their lines from the first offer on, with or without a device behind them, so that turning them on later, or
 * choosing another device, is instant and needs no negotiation; a shared screen gets a line of its own when it comes.
 */

/** @import { PeerInfo, QualityLevel, Signal } from "./call_types.js" */
/** @import { LocalMedia } from "./call_media.js" */
/** @import { Sample } from "./call_quality.js" */
/** @import { Numbered } from "./call_signals.js" */
/** @import { Timers } from "./protocol.js" */

import { levelOf, QualityMeter } from "./call_quality.js";
import { ReceivedSignals, SentSignals } from "./call_signals.js";
import { wordsOf } from "./call_words.js";

/** @typedef {"new" | "connecting" | "connected" | "disconnected" | "failed" | "closed"} LinkState */
/** @typedef {{code: "relay_refused" | "relay_unreachable" | "no_route", url: string, message: string}} LinkProblem */
/**
 * @typedef {object} LinkOptions
 * @property {(config: RTCConfiguration) => RTCPeerConnection} connect Makes the peer connection.
 * @property {(fresh: boolean) => Promise<RTCConfiguration>} config ICE servers; `fresh`: not those used before.
 * @property {LocalMedia} local
 * @property {() => Timers} timers
 * @property {(signal: Numbered) => void} send
 * @property {(ice: "connected" | "disconnected" | "failed") => void} report
 * @property {() => void} repair Signals may be missing: resume.
 * @property {() => void} changed
 */

/** A gap in the signals that lasts so long is not going to close by itself. */
const GAP_MS = 2_000;
/** Between two restarts of a connection that does not come back. */
const RESTART_AGAIN_MS = 8_000;
const CANDIDATES_MAX = 20;
/** Bits a second for a camera, by the number of others it is sent to; the upload of a home is shared between them. */
const CAMERA_BPS = [1_700_000, 900_000, 600_000, 450_000, 350_000];

export class PeerLink {
  /** What the other one sends: sound and camera in one stream, the screen in another. */
  stream = new MediaStream();
  screenStream = new MediaStream();
  /** @type {LinkProblem | undefined} */
  problem;
  /** @type {QualityLevel} */
  level = "excellent";
  /** @type {Sample} */
  sample = {};
  wasConnected = false;
  meter = new QualityMeter();

  #sent = new SentSignals();
  #received = new ReceivedSignals();
  /** @type {RTCPeerConnection | undefined} */
  #pc;
  #makingOffer = false;
  #ignoreOffer = false;
  #answerPending = false;
  /** A first offer was made or taken: only then may a polite one make its own. */
  #begun = false;
  #closed = false;
  /** @type {RTCRtpTransceiver | undefined} */
  #audio;
  /** @type {RTCRtpTransceiver | undefined} */
  #video;
  /** @type {RTCRtpTransceiver | undefined} */
  #screen;
  /** @type {Record<string, "camera" | "screen">} */
  #purposes = {};
  /** @type {RTCIceCandidateInit[]} */
  #candidates = [];
  #gathered = 0;
  /** @type {Promise<void>} Signals are applied one after the other. */
  #work = Promise.resolve();
  /** @type {Promise<void> | undefined} */
  #opening;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #flushTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #restartTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #answerTimer;
  /** @type {LinkState} */
  #reported = "new";
  #peers = 1;

  /** @param {PeerInfo} info @param {LinkOptions} options */
  constructor(info, options) {
    this.info = info;
    this.options = options;
    // The other one cannot offer before it has heard of us, and it is told after us: be ready.
    if (info.initiator) void this.#open();
  }

  /** @returns {LinkState} */
  get state() {
    return this.#pc?.connectionState ?? "new";
  }

  /** The number of the last signal of theirs that was taken in. */
  get have() {
    return this.#received.have;
  }

  /** A signal of the other side, in whatever order. @param {Numbered} signal */
  receive(signal) {
    for (const next of this.#received.offer(signal)) {
      this.#work = this.#work.then(() => this.#apply(next)).catch((error) => this.#failed(error));
    }
    if (this.#received.hasGap) this.#later(GAP_MS, () => this.#received.hasGap && this.options.repair());
  }

  /** The server has handed on our signal. @param {number} n */
  relayed(n) {
    this.#sent.relayed(n);
  }

  /** This client's socket is another one now: what was not confirmed goes out again, and how it stands. */
  resumed() {
    for (const signal of this.#sent.unconfirmed()) this.options.send(signal);
    this.#reported = "new";
    this.#stateChanged();
  }

  /** The other side's socket is back, and it holds our signals up to `have`. @param {number} have */
  heldUpTo(have) {
    for (const signal of this.#sent.after(have)) this.options.send(signal);
  }

  /** Microphone, camera or screen are others now. @param {number} [peers] Participants who get the camera. */
  async sendMedia(peers = this.#peers) {
    const { local } = this.options;
    this.#peers = peers;
    await Promise.all([
      this.#audio?.sender.replaceTrack(local.audioTrack),
      this.#video?.sender.replaceTrack(local.videoTrack),
      this.#sendScreen(),
    ]).catch((error) => this.#failed(error));
    await this.#limit();
  }

  /** Look for another way, with fresh credentials; media goes on over the old one until there is one. */
  async restart() {
    if (!this.#pc || this.#closed) return;
    this.problem = undefined;
    await this.#refresh(this.#pc);
    if (!this.#closed) this.#pc.restartIce();
  }

  /** Words to compare, or undefined before both sides are known. */
  words() {
    return wordsOf(this.#pc?.currentLocalDescription?.sdp, this.#pc?.currentRemoteDescription?.sdp);
  }

  /** Measure; call it at even intervals. */
  async measure() {
    if (!this.#pc || this.state !== "connected") return;
    const report = await this.#pc.getStats();
    if (this.#closed) return;
    const { audio, video, screen } = this.info.media;
    this.sample = this.meter.sample(report.values(), performance.now());
    this.level = levelOf(this.sample, { video: video && !screen, anything: audio || video });
  }

  close() {
    this.#closed = true;
    for (const timer of [...this.#timers, this.#flushTimer, this.#restartTimer, this.#answerTimer]) clearTimeout(timer);
    this.#pc?.close();
  }

  // ---- the peer connection

  #open() {
    this.#opening ??= this.#make();
    return this.#opening;
  }

  async #make() {
    const config = await this.options.config(false);
    if (this.#closed) return;
    const pc = this.options.connect(config);
    this.#pc = pc;
    pc.onnegotiationneeded = () => void this.#negotiate();
    pc.onicecandidate = ({ candidate }) => this.#gather(candidate);
    pc.onicecandidateerror = (event) => this.#candidateFailed(event);
    pc.onconnectionstatechange = () => this.#stateChanged();
    pc.oniceconnectionstatechange = () => this.#stateChanged();
    pc.ontrack = ({ track, streams, transceiver }) => this.#came(track, streams, transceiver);
    if (!this.info.initiator) return;
    const { local } = this.options;
    this.#audio = pc.addTransceiver("audio", { streams: [local.stream] });
    this.#video = pc.addTransceiver("video", { streams: [local.stream] });
    await this.sendMedia();
  }

  async #negotiate() {
    const pc = this.#pc;
    if (!pc || this.#closed || (!this.#begun && !this.info.initiator)) return;
    this.#begun = true;
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      this.#describe(pc);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#makingOffer = false;
    }
  }

  /** @param {RTCPeerConnection} pc */
  #describe(pc) {
    const description = pc.localDescription;
    if (this.#closed || !description || description.type === "rollback" || description.type === "pranswer") return;
    const { type, sdp } = description;
    const { local } = this.options;
    this.#gathered = 0;
    clearTimeout(this.#answerTimer);
    if (type === "offer") {
      const waited = this.options.timers().call_negotiation_ms;
      this.#answerTimer = setTimeout(() => pc.signalingState === "have-local-offer" && this.options.repair(), waited);
    }
    this.#send({
      description: { type, sdp },
      streams: { [local.stream.id]: "camera", [local.screenStream.id]: "screen" },
    });
  }

  /** @param {Signal} signal */
  #send(signal) {
    this.options.send(this.#sent.add(signal));
  }

  /** @param {Numbered} signal */
  async #apply({ description, streams, candidates, end_of_candidates }) {
    await this.#open();
    const pc = this.#pc;
    if (!pc || this.#closed) return;
    if (streams) this.#purposes = { ...this.#purposes, ...streams };
    if (description) await this.#takeDescription(pc, description);
    for (const candidate of candidates ?? []) await this.#addCandidate(pc, candidate);
    if (end_of_candidates) await this.#addCandidate(pc, null);
  }

  /** @param {RTCPeerConnection} pc @param {RTCIceCandidateInit | null} candidate */
  async #addCandidate(pc, candidate) {
    try {
      await pc.addIceCandidate(candidate);
    } catch (error) {
      // Of an offer that we did not take, or of one that was replaced: nothing is lost.
      if (!this.#ignoreOffer && pc.signalingState === "closed") throw error;
    }
  }

  /** @param {RTCPeerConnection} pc @param {{type: "offer" | "answer", sdp: string}} description */
  async #takeDescription(pc, description) {
    const stable = pc.signalingState === "stable" || (pc.signalingState === "have-local-offer" && this.#answerPending);
    const collides = description.type === "offer" && (this.#makingOffer || !stable);
    this.#ignoreOffer = !this.info.polite && collides;
    if (this.#ignoreOffer) return;
    if (isRestart(pc, description)) await this.#refresh(pc);
    this.#answerPending = description.type === "answer";
    try {
      await pc.setRemoteDescription(description);
    } finally {
      this.#answerPending = false;
    }
    clearTimeout(this.#answerTimer);
    if (description.type !== "offer") return this.#limit();
    this.#begun = true;
    await this.#adopt(pc);
    await pc.setLocalDescription();
    this.#describe(pc);
  }

  /** What is gathered from now on needs credentials that still hold. @param {RTCPeerConnection} pc */
  async #refresh(pc) {
    try {
      const config = await this.options.config(true);
      if (!this.#closed) pc.setConfiguration(config);
    } catch {
      // No connection to the server: those we have may do.
    }
  }

  /** Use the lines of the other side's first offer for our microphone and camera. @param {RTCPeerConnection} pc */
  async #adopt(pc) {
    for (const transceiver of pc.getTransceivers()) {
      const { kind } = transceiver.receiver.track;
      if (transceiver === this.#screen || transceiver.mid === null) continue;
      if (kind === "audio" && !this.#audio) this.#audio = this.#answer(transceiver);
      else if (kind === "video" && !this.#video && !this.#isScreen(transceiver))
        this.#video = this.#answer(transceiver);
    }
    await this.sendMedia();
  }

  /** @param {RTCRtpTransceiver} transceiver */
  #answer(transceiver) {
    transceiver.direction = "sendrecv";
    transceiver.sender.setStreams?.(this.options.local.stream);
    return transceiver;
  }

  async #sendScreen() {
    const track = this.options.local.screenTrack;
    if (!this.#pc || (!track && !this.#screen)) return;
    if (this.#screen) {
      await this.#screen.sender.replaceTrack(track);
      this.#screen.direction = track ? "sendonly" : "inactive";
    } else if (track) {
      const streams = [this.options.local.screenStream];
      this.#screen = this.#pc.addTransceiver(track, { direction: "sendonly", streams });
    }
  }

  /** Share the way up between the participants. */
  async #limit() {
    const peers = this.#peers;
    const sender = this.#video?.sender;
    const parameters = sender?.getParameters?.();
    const encoding = parameters?.encodings?.[0];
    if (!sender || !parameters || !encoding) return;
    const bits = CAMERA_BPS[Math.min(peers, CAMERA_BPS.length) - 1] ?? 350_000;
    if (encoding.maxBitrate === bits) return;
    encoding.maxBitrate = bits;
    encoding.scaleResolutionDownBy = peers > 1 ? 2 : 1;
    // Refused while a negotiation runs: the next change sets it.
    await sender.setParameters(parameters).catch(() => {});
  }

  // ---- candidates

  /** @param {RTCIceCandidate | null} candidate */
  #gather(candidate) {
    if (candidate?.candidate) {
      this.#gathered += 1;
      this.#candidates.push(candidate.toJSON());
      if (this.#candidates.length >= CANDIDATES_MAX) this.#flush();
      else this.#flushTimer ??= setTimeout(() => this.#flush(), this.options.timers().call_candidates_ms);
    } else if (candidate === null) {
      this.#flush(true);
      if (this.#gathered === 0 && this.state !== "connected") this.#trouble("no_route", "", "no way to the other side");
    }
  }

  #flush(end = false) {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    const candidates = this.#candidates;
    this.#candidates = [];
    if (this.#closed || (!candidates.length && !end)) return;
    this.#send({ ...(candidates.length ? { candidates } : {}), ...(end ? { end_of_candidates: true } : {}) });
  }

  /** @param {RTCPeerConnectionIceErrorEvent} event */
  #candidateFailed({ errorCode, errorText, url }) {
    if (errorCode === 401 || errorCode === 403 || errorCode === 486) this.#trouble("relay_refused", url, errorText);
    else if (url.startsWith("turn") && this.#gathered === 0) this.#trouble("relay_unreachable", url, errorText);
  }

  /** @param {LinkProblem["code"]} code @param {string} url @param {string} message */
  #trouble(code, url, message) {
    // The first one is the cause; "nothing was found" only its consequence.
    if (this.problem && code === "no_route") return;
    this.problem = { code, url, message };
    this.options.changed();
  }

  // ---- how it goes

  #stateChanged() {
    if (this.#closed || !this.#pc) return;
    const { connectionState: state, iceConnectionState: ice } = this.#pc;
    if (state === "connected") {
      this.wasConnected = true;
      this.problem = undefined;
    }
    const worth = ice === "failed" || state === "failed" ? "failed" : ice === "disconnected" ? "disconnected" : state;
    if (worth !== this.#reported) {
      this.#reported = worth;
      clearTimeout(this.#restartTimer);
      if (worth === "connected" || worth === "disconnected" || worth === "failed") this.options.report(worth);
      if (worth === "disconnected") this.#restartIn(this.options.timers().call_ice_restart_ms);
      if (worth === "failed") this.#restartIn(0);
    }
    this.options.changed();
  }

  /** @param {number} delayMs */
  #restartIn(delayMs) {
    // One side at a time: the other follows its offer. Should that not come, it does so itself.
    const later = this.info.polite ? 2 : 1;
    this.#restartTimer = setTimeout(() => {
      void this.restart().catch(() => {});
      this.#restartIn(RESTART_AGAIN_MS);
    }, delayMs * later);
  }

  /** @param {MediaStreamTrack} track @param {readonly MediaStream[]} streams @param {RTCRtpTransceiver} transceiver */
  #came(track, streams, transceiver) {
    const screen = track.kind === "video" && this.#isScreen(transceiver, streams);
    const into = screen ? this.screenStream : this.stream;
    for (const old of into.getTracks()) if (old.kind === track.kind && old !== track) into.removeTrack(old);
    into.addTrack(track);
    track.onmute = track.onunmute = () => this.options.changed();
    this.options.changed();
  }

  /** The stream's purpose as told; else the first picture is the camera's. @param {RTCRtpTransceiver} transceiver @param {readonly MediaStream[]} [streams] */
  #isScreen(transceiver, streams = []) {
    const told = streams.map(({ id }) => this.#purposes[id]).find((purpose) => purpose !== undefined);
    if (told) return told === "screen";
    const pictures = this.#pc
      ?.getTransceivers()
      .filter(({ receiver, mid }) => mid !== null && receiver.track.kind === "video");
    return pictures?.[0] !== transceiver;
  }

  /** @param {number} delayMs @param {() => void} act */
  #later(delayMs, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, delayMs);
    this.#timers.add(timer);
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!this.#closed) this.#trouble("no_route", "", error instanceof Error ? error.message : String(error));
  }
}

/** The other side looks for another way. @param {RTCPeerConnection} pc @param {{type: string, sdp: string}} description */
function isRestart(pc, { type, sdp }) {
  const before = pc.currentRemoteDescription?.sdp;
  return type === "offer" && before !== undefined && fragment(before) !== fragment(sdp);
}

/** @param {string} sdp */
function fragment(sdp) {
  return /^a=ice-ufrag:(.*)$/m.exec(sdp)?.[1];
}
