/**
 * A call on the screen: the others large, oneself small, a grid for groups, a shared screen before everything; below it
 * what one can do. Small, it stays in a corner while the conversation is read.
 */

/** @import { Call, MatchView } from "../duologue.js" */
/** @import { IconName } from "./dom.js" */

import { openDevices } from "./call_devices.js";
import { endCard } from "./call_end.js";
import { CallStage } from "./call_stage.js";
import { CallWords } from "./call_verify.js";
import { deviceProblems, endTitle, lengthOf, linkProblem } from "./call_words.js";
import { el, fill, icon, iconButton, set } from "./dom.js";
import { titleOf } from "./people.js";
import { ring } from "./ring.js";

/**
 * @typedef {object} CallViewOptions
 * @property {string} me
 * @property {MatchView | undefined} match
 * @property {() => void} again Call again.
 * @property {() => void} closed The view is not needed any more.
 * @property {(small: boolean) => void} sized
 * @property {(text: string) => void} said Something that was not asked for has to be told.
 */

const SLOW_MS = 8_000;

export class CallView {
  #stopTone = () => {};
  #tone = "";
  /** @type {ReturnType<typeof setInterval>} */
  #ticking;
  #beganMs = Date.now();
  /** @type {(() => void)[]} */
  #off = [];
  #dismissed = "";

  /** @param {Call} call @param {CallViewOptions} options */
  constructor(call, options) {
    this.call = call;
    this.options = options;
    const title = options.match ? titleOf(options.match) : call.caller;
    this.heading = el("h2", {}, title);
    this.status = el("p", { class: "call-status", role: "status" });
    this.time = el("span", { class: "call-time", role: "timer" });
    this.problem = el("div", { class: "call-problem", role: "alert", hidden: true });
    this.stage = new CallStage(options.me, options.match);
    this.words = new CallWords(call, () => this.verify.focus());
    this.mic = control("mic", "Mute", () => void this.#toggle("audio"));
    this.camera = control("camera", "Camera off", () => void this.#toggle("video"));
    this.screen = control("screen", "Share screen", () => void this.#toggle("screen"));
    this.screen.hidden = !("getDisplayMedia" in (navigator.mediaDevices ?? {}));
    const devices = control(
      "settings",
      "Devices",
      () => void openDevices(call.local, (id) => this.stage.listenWith(id)),
    );
    const hangUp = control("hangup", "Hang up", () => void call.hangUp().catch(() => {}));
    hangUp.classList.add("hang-up");
    this.verify = iconButton("shield", "Compare words", () => void this.words.toggle());
    this.invite = iconButton("invite", "Ring the others", () => void this.#ringOthers());
    this.controls = el(
      "div",
      { class: "controls", role: "group", "aria-label": "Call" },
      this.mic,
      this.camera,
      this.screen,
      devices,
      hangUp,
    );
    this.element = el(
      "section",
      { class: "call", "aria-label": `Call with ${title}`, "data-size": "full", tabindex: -1 },
      el(
        "header",
        {},
        el("div", { class: "who" }, this.heading, el("div", { class: "line" }, this.time, this.status)),
        this.invite,
        this.verify,
        iconButton("shrink", "Show the conversation", () => this.resize(true)),
        iconButton("expand", "Show the call large", () => this.resize(false)),
      ),
      this.problem,
      this.stage.element,
      this.words.element,
      this.controls,
    );
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.#off = [call.on("change", () => this.#show()), call.local.on("change", () => this.#show())];
    this.#ticking = setInterval(() => this.#tick(), 500);
    this.#show();
    queueMicrotask(() => this.element.isConnected && this.element.focus());
  }

  /** In the corner, or over everything. @param {boolean} small */
  resize(small) {
    this.element.dataset.size = small ? "small" : "full";
    this.options.sized(small);
    if (!small) this.element.focus();
  }

  get isSmall() {
    return this.element.dataset.size === "small";
  }

  /** Take it away. */
  close() {
    this.#stop();
    this.element.remove();
    this.options.closed();
  }

  #stop() {
    clearInterval(this.#ticking);
    this.#stopTone();
    for (const off of this.#off) off();
    this.stage.end();
  }

  #show() {
    if (this.call.end) return this.#showEnd();
    this.stage.show(this.call);
    this.#showControls();
    this.#showProblem();
    this.#showStatus();
    this.#sound(this.call.state === "ringing" ? "outgoing" : "");
    this.#tick();
  }

  // ---- what one can do

  #showControls() {
    const { audio, video, screen } = this.call.local.state;
    show(this.mic, audio ? "mic" : "mic-off", audio ? "Mute" : "Unmute", !audio);
    show(this.camera, video ? "camera" : "camera-off", video ? "Camera off" : "Camera on", !video);
    show(this.screen, "screen", screen ? "Stop sharing" : "Share screen", screen);
    const others = this.options.match?.others ?? [];
    const here = new Set([
      ...this.call.participants.map(({ user }) => user),
      ...this.call.ringing.map(({ user }) => user),
    ]);
    this.invite.hidden = others.length < 2 || others.every((user) => here.has(user));
    this.verify.hidden = this.call.state !== "active";
  }

  /** @param {"audio" | "video" | "screen"} kind */
  async #toggle(kind) {
    const { call } = this;
    const { state } = call.local;
    this.#dismissed = "";
    if (kind === "audio") await call.setAudio(!state.audio);
    else if (kind === "video") await call.setVideo(!state.video);
    else await call.setScreen(!state.screen);
  }

  async #ringOthers() {
    const here = new Set(this.call.participants.map(({ user }) => user));
    const users = (this.options.match?.others ?? []).filter((user) => !here.has(user));
    await this.call.invite(users).catch(() => {});
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !this.isSmall) {
      event.stopPropagation();
      if (this.call.end) this.close();
      else if (this.words.isOpen) this.words.close();
      else this.resize(true);
    } else if (this.call.end) return;
    else if (event.key === "m") void this.#toggle("audio");
    else if (event.key === "v") void this.#toggle("video");
  }

  // ---- words

  #showStatus() {
    const said = this.#statusWords();
    if (this.status.textContent !== said) this.status.textContent = said;
    set(this.element, { "data-state": this.call.state });
  }

  #statusWords() {
    const { call } = this;
    const slow = Date.now() - this.#beganMs > SLOW_MS;
    switch (call.state) {
      case "ringing":
        return call.ringing.some(({ alerted }) => alerted) ? "Ringing…" : "Calling…";
      case "waiting":
        return "Waiting for the others…";
      case "connecting":
        return slow ? "Connecting takes longer than usual…" : "Connecting…";
      case "reconnecting":
        return "Reconnecting…";
      default:
        if (call.participants.length === 1 && call.participants[0]?.reconnecting) return "Reconnecting…";
        if (!call.online) return "No connection to the server; the call goes on";
        return call.ringing.length ? `Ringing ${call.ringing.map(({ user }) => user).join(", ")}…` : "";
    }
  }

  #showProblem() {
    const { call } = this;
    const link = call.participants.find(({ problem, state }) => problem && state !== "connected")?.problem;
    const text = link ? linkProblem(link) : deviceProblems(call.local.problems);
    this.problem.hidden = text === "" || text === this.#dismissed;
    if (this.problem.dataset.said === text) return;
    this.problem.dataset.said = text;
    const close = iconButton("close", "Dismiss", () => {
      this.#dismissed = text;
      this.problem.hidden = true;
    });
    fill(this.problem, el("p", {}, text), close);
  }

  #tick() {
    const { call } = this;
    const time = call.connectedAtMs === undefined ? "" : lengthOf(call.durationMs);
    if (this.time.textContent !== time) this.time.textContent = time;
    if (call.state === "connecting") this.#showStatus();
  }

  /** @param {"" | "outgoing"} tone */
  #sound(tone) {
    if (this.#tone === tone) return;
    this.#tone = tone;
    this.#stopTone();
    this.#stopTone = tone ? ring(tone) : () => {};
  }

  // ---- the end

  #showEnd() {
    const { call } = this;
    const end = call.end;
    if (!end || this.element.dataset.state === "ended") return;
    this.#stop();
    // One's own cancelling, and what went on on another device, needs no words.
    if (["cancelled", "answered_elsewhere", "replaced"].includes(end.reason)) return this.close();
    if (call.connectedAtMs !== undefined) ring("end");
    const length = call.connectedAtMs === undefined ? "" : lengthOf(end.duration_ms);
    if (this.isSmall) {
      // Who reads or writes meanwhile goes on.
      this.options.said([endTitle(end), length].filter(Boolean).join(" · "));
      return this.close();
    }
    set(this.element, { "data-state": "ended" });
    const card = endCard(call, end, {
      length,
      people: this.options.match?.others ?? [call.caller],
      again: () => {
        this.close();
        this.options.again();
      },
      close: () => this.close(),
    });
    fill(this.element, card.element);
    card.focus();
  }
}

/** @param {IconName} name @param {string} label @param {() => void} press */
function control(name, label, press) {
  const button = el("button", { class: "control", type: "button", title: label }, icon(name), el("span", {}, label));
  button.addEventListener("click", press);
  return button;
}

/** @param {HTMLButtonElement} button @param {IconName} name @param {string} label @param {boolean} pressed */
function show(button, name, label, pressed) {
  set(button, { "data-on": pressed });
  if (button.title === label) return;
  button.title = label;
  fill(button, icon(name), el("span", {}, label));
}
