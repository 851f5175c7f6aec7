/**
 * Peer connections that only keep order: they know offers, answers and candidates, and connect when both are exchanged.
 * What real ones do is tested in a real browser; here it is about who says what when.
 */

/** @typedef {{type: "offer" | "answer", sdp: string}} Description */

let made = 0;

class FakeStream {
  /** @type {unknown[]} */
  tracks = [];
  constructor() {
    made += 1;
    this.id = `stream-${made}`;
  }
  getTracks() {
    return this.tracks;
  }
  getAudioTracks() {
    return [];
  }
  getVideoTracks() {
    return [];
  }
}

/** Let the library find what browsers have. */
export function installMedia() {
  Object.assign(globalThis, { MediaStream: FakeStream });
}

/** One `RTCPeerConnection`, as far as sequences go. */
export class FakePeerConnection {
  signalingState = "stable";
  connectionState = "new";
  iceConnectionState = "new";
  /** @type {Description | null} */
  localDescription = null;
  /** @type {Description | null} */
  currentLocalDescription = null;
  /** @type {Description | null} */
  currentRemoteDescription = null;
  /** @type {string[]} What was asked of it, in order. */
  story = [];
  /** @type {{kind: string, mid: string | null, direction: string, receiver: {track: {kind: string}}, sender: object}[]} */
  transceivers = [];
  restarts = 0;
  /** @type {(() => void) | null} */
  onnegotiationneeded = null;
  /** @type {((event: {candidate: object | null}) => void) | null} */
  onicecandidate = null;
  /** @type {((event: object) => void) | null} */
  onicecandidateerror = null;
  /** @type {(() => void) | null} */
  onconnectionstatechange = null;
  /** @type {(() => void) | null} */
  oniceconnectionstatechange = null;
  #offers = 0;
  #needed = false;

  /** @param {RTCConfiguration} config */
  constructor(config) {
    this.config = config;
    made += 1;
    this.name = `pc-${made}`;
  }

  /** @param {string} kind */
  addTransceiver(kind) {
    const sender = { replaceTrack: async () => {}, setStreams: () => {} };
    const transceiver = { kind, mid: null, direction: "sendrecv", receiver: { track: { kind } }, sender };
    this.transceivers.push(transceiver);
    this.#need();
    return transceiver;
  }

  getTransceivers() {
    return this.transceivers;
  }

  /** @param {RTCConfiguration} config */
  setConfiguration(config) {
    this.config = config;
  }

  restartIce() {
    this.restarts += 1;
    this.#need();
  }

  #need() {
    this.#needed = true;
    queueMicrotask(() => {
      if (!this.#needed || this.signalingState !== "stable") return;
      this.#needed = false;
      this.onnegotiationneeded?.();
    });
  }

  async setLocalDescription() {
    const type = this.signalingState === "have-remote-offer" ? "answer" : "offer";
    this.#offers += 1;
    this.localDescription = { type, sdp: `v=0\r\na=ice-ufrag:${this.name}-${this.restarts}\r\nn=${this.#offers}\r\n` };
    this.story.push(`local ${type}`);
    this.signalingState = type === "offer" ? "have-local-offer" : "stable";
    if (type === "answer") this.currentLocalDescription = this.localDescription;
  }

  /** @param {Description} description */
  async setRemoteDescription(description) {
    if (description.type === "offer" && this.signalingState === "have-local-offer") {
      this.story.push("rollback");
      this.#needed = true;
    }
    this.story.push(`remote ${description.type}`);
    this.currentRemoteDescription = description;
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
    if (description.type === "answer") this.currentLocalDescription = this.localDescription;
    if (this.#needed && this.signalingState === "stable") this.#need();
  }

  /** @param {object | null} candidate */
  async addIceCandidate(candidate) {
    this.story.push(candidate ? "candidate" : "end of candidates");
  }

  async getStats() {
    return new Map();
  }

  close() {
    this.connectionState = "closed";
    this.signalingState = "closed";
    this.story.push("close");
  }

  /** The network does something. @param {"connected" | "disconnected" | "failed"} state */
  become(state) {
    this.connectionState = state;
    this.iceConnectionState = state;
    this.onconnectionstatechange?.();
  }
}
