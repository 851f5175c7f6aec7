/**
 * What this client sends in a call: microphone, camera, screen, and the loudspeaker it listens with.
 *
 * A call goes on without what is refused or missing: `problems` says why, and the same may be asked for again later.
 * A muted microphone stays open (unmuting has to be instant); a camera that is off is closed, so that its light goes out.
 */

import { Emitter } from "./emitter.js";

/** @typedef {"refused" | "missing" | "in_use" | "insecure"} MediaProblem */
/** @typedef {{id: string, label: string}} Device */
/** @typedef {{audio: Device[], video: Device[], speaker: Device[]}} Devices */
/** @typedef {"audio" | "video"} Kind */

/** @type {MediaTrackConstraints} */
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 24, max: 30 } };
/** @type {MediaTrackConstraints} */
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * @extends {Emitter<{change: LocalMedia} & Record<string, unknown>>}
 */
export class LocalMedia extends Emitter {
  /** Camera and microphone, as one stream; the same object for as long as this lives. */
  stream = new MediaStream();
  /** The shared screen, as another. */
  screenStream = new MediaStream();
  /** @type {Partial<Record<Kind | "screen", MediaProblem>>} */
  problems = {};
  /** Device ids that were chosen; "" is the system's choice. */
  chosen = { audio: "", video: "", speaker: "" };

  #audioOn = false;
  #closed = false;

  /** @type {MediaStreamTrack | null} */
  get audioTrack() {
    return this.stream.getAudioTracks()[0] ?? null;
  }

  /** @type {MediaStreamTrack | null} */
  get videoTrack() {
    return this.stream.getVideoTracks()[0] ?? null;
  }

  /** @type {MediaStreamTrack | null} */
  get screenTrack() {
    return this.screenStream.getVideoTracks()[0] ?? null;
  }

  /** What is sent now. */
  get state() {
    return {
      audio: this.#audioOn && this.audioTrack !== null,
      video: this.videoTrack !== null,
      screen: this.screenTrack !== null,
    };
  }

  /**
   * Ask for microphone and camera, in one question where both are wanted. Never throws: see `problems`.
   * @param {{audio?: boolean, video?: boolean}} wanted
   */
  async open({ audio = true, video = false }) {
    this.#audioOn = audio;
    if (audio && video && (await this.#get({ audio: true, video: true }))) return;
    if (audio) await this.#get({ audio: true });
    if (video) await this.#get({ video: true });
  }

  /** @param {boolean} on */
  async setAudio(on) {
    this.#audioOn = on;
    if (on && !this.audioTrack) await this.#get({ audio: true });
    if (this.audioTrack) this.audioTrack.enabled = on;
    this.#changed();
  }

  /** @param {boolean} on */
  async setVideo(on) {
    if (on && !this.videoTrack) await this.#get({ video: true });
    else if (!on) this.#drop(this.stream, "video");
    this.#changed();
  }

  /** Share the screen, a window or a tab, which the browser asks for. Resolves to whether it is shared now. @param {boolean} on */
  async setScreen(on) {
    delete this.problems.screen;
    if (!on) this.#drop(this.screenStream, "video");
    else if (!this.screenTrack) await this.#share();
    this.#changed();
    return this.screenTrack !== null;
  }

  /**
   * Use another device from now on. A camera that is off stays off.
   * @param {"audio" | "video" | "speaker"} kind
   * @param {string} id
   */
  async choose(kind, id) {
    this.chosen = { ...this.chosen, [kind]: id };
    if (kind === "audio" && this.audioTrack) await this.#get({ audio: true });
    if (kind === "video" && this.videoTrack) await this.#get({ video: true });
    this.#changed();
  }

  /** The devices of this machine. Labels are there once one of the kind was allowed. @returns {Promise<Devices>} */
  async devices() {
    const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const of = (/** @type {MediaDeviceKind} */ kind, /** @type {string} */ name) =>
      all
        .filter((device) => device.kind === kind && device.deviceId !== "")
        .map(({ deviceId, label }, index) => ({ id: deviceId, label: label || `${name} ${index + 1}` }));
    return {
      audio: of("audioinput", "Microphone"),
      video: of("videoinput", "Camera"),
      speaker: of("audiooutput", "Loudspeaker"),
    };
  }

  /** Let go of every device. */
  close() {
    this.#closed = true;
    for (const track of [...this.stream.getTracks(), ...this.screenStream.getTracks()]) track.stop();
    for (const stream of [this.stream, this.screenStream]) {
      for (const track of stream.getTracks()) stream.removeTrack(track);
    }
  }

  /** @param {{audio?: boolean, video?: boolean}} kinds @returns {Promise<boolean>} */
  async #get(kinds) {
    const names = /** @type {Kind[]} */ (Object.keys(kinds));
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
      const got = await navigator.mediaDevices.getUserMedia(this.#constraints(kinds));
      for (const track of got.getTracks()) this.#take(this.stream, track);
      for (const name of names) delete this.problems[name];
      this.#changed();
      return true;
    } catch (error) {
      // Asked for both, the browser does not say which is missing: then each is asked for alone.
      if (names.length === 1 && names[0]) this.problems[names[0]] = problemOf(error);
      this.#changed();
      return false;
    }
  }

  /** @param {{audio?: boolean, video?: boolean}} kinds @returns {MediaStreamConstraints} */
  #constraints({ audio, video }) {
    const exactly = (/** @type {string} */ id) => (id ? { deviceId: { exact: id } } : {});
    return {
      audio: audio ? { ...MICROPHONE, ...exactly(this.chosen.audio) } : false,
      video: video ? { ...CAMERA, ...exactly(this.chosen.video) } : false,
    };
  }

  async #share() {
    try {
      const got = await navigator.mediaDevices.getDisplayMedia({
        video: { frameRate: { ideal: 15, max: 30 } },
        audio: false,
      });
      for (const track of got.getVideoTracks()) {
        // Text has to stay sharp; a low rate of pictures is fine.
        track.contentHint = "detail";
        this.#take(this.screenStream, track);
      }
    } catch (error) {
      this.problems.screen = problemOf(error);
    }
  }

  /** @param {MediaStream} stream @param {MediaStreamTrack} track */
  #take(stream, track) {
    if (this.#closed) return track.stop();
    const kind = /** @type {Kind} */ (track.kind);
    this.#drop(stream, kind);
    if (kind === "audio") track.enabled = this.#audioOn;
    // The browser's own "stop sharing", a camera that was pulled out.
    track.addEventListener("ended", () => {
      stream.removeTrack(track);
      this.#changed();
    });
    stream.addTrack(track);
  }

  /** @param {MediaStream} stream @param {Kind} kind */
  #drop(stream, kind) {
    for (const track of stream.getTracks().filter((each) => each.kind === kind)) {
      track.stop();
      stream.removeTrack(track);
    }
  }

  #changed() {
    if (!this.#closed) this.emit("change", this);
  }
}

/** @param {unknown} error @returns {MediaProblem} */
function problemOf(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "refused";
  if (name === "SecurityError") return "insecure";
  return name === "NotFoundError" || name === "OverconstrainedError" ? "missing" : "in_use";
}
