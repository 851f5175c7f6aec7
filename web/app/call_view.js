/**
 * A call on the screen: the others large, oneself small, a grid for groups, a shared screen before everything; below it
 * what one can do. Small, it stays in a corner while the conversation is read.
 */

/** @import { Call, MatchView, Participant } from "../duologue.js" */
/** @import { IconName } from "./dom.js" */

import { openDevices } from "./call_devices.js";
import { Tile } from "./call_tile.js";
import { deviceProblems, endTitle, lengthOf, linkProblem } from "./call_words.js";
import { el, fill, icon, iconButton, set } from "./dom.js";
import { avatar, titleOf } from "./people.js";
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
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
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
    this.stage = el("div", { class: "stage" });
    this.words = el("div", {
      class: "call-words",
      role: "group",
      "aria-label": "Words to compare",
      tabindex: -1,
      hidden: true,
    });
    this.mic = control("mic", "Mute", () => void this.#toggle("audio"));
    this.camera = control("camera", "Camera off", () => void this.#toggle("video"));
    this.screen = control("screen", "Share screen", () => void this.#toggle("screen"));
    this.screen.hidden = !("getDisplayMedia" in (navigator.mediaDevices ?? {}));
    const devices = control("settings", "Devices", () => void openDevices(call.local, (id) => this.#listenWith(id)));
    const hangUp = control("hangup", "Hang up", () => void call.hangUp().catch(() => {}));
    hangUp.classList.add("hang-up");
    this.verify = iconButton("shield", "Compare words", () => void this.#compare());
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
      this.stage,
      this.words,
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
    for (const tile of this.#tiles.values()) tile.end();
    this.#tiles.clear();
  }

  #show() {
    if (this.call.end) return this.#showEnd();
    this.#showTiles();
    this.#showControls();
    this.#showProblem();
    this.#showStatus();
    this.#sound(this.call.state === "ringing" ? "outgoing" : "");
    this.#tick();
  }

  // ---- pictures

  #showTiles() {
    const { call } = this;
    const { participants, local } = call;
    /** @type {[string, () => Tile, (tile: Tile) => void][]} */
    const wanted = [];
    for (const each of participants) {
      if (each.media.screen) {
        wanted.push([
          `${each.peer} screen`,
          () => new Tile(each.user, { screen: true }),
          (tile) => tile.showScreen(each),
        ]);
      }
      wanted.push([each.peer, () => new Tile(each.user), (tile) => tile.show(each)]);
    }
    if (local.state.screen)
      wanted.push([
        "my screen",
        () => new Tile(this.options.me, { mine: true, screen: true }),
        (tile) => tile.showOwnScreen(local),
      ]);
    wanted.push(["me", () => new Tile(this.options.me, { mine: true }), (tile) => tile.showSelf(local)]);
    const keys = new Set(wanted.map(([key]) => key));
    for (const [key, tile] of this.#tiles) {
      if (keys.has(key)) continue;
      tile.end();
      this.#tiles.delete(key);
    }
    for (const [index, [key, make, show]] of wanted.entries()) {
      const known = this.#tiles.get(key);
      const tile = known ?? make();
      if (!known) {
        this.#tiles.set(key, tile);
        void tile.listenWith(local.chosen.speaker);
      }
      show(tile);
      // A picture that is moved in the page stops for a moment.
      if (this.stage.children[index] !== tile.element)
        this.stage.insertBefore(tile.element, this.stage.children[index] ?? null);
    }
    this.#arrange(participants);
  }

  /** @param {Participant[]} participants */
  #arrange(participants) {
    const shared = participants.some(({ media }) => media.screen);
    const layout = participants.length === 0 ? "alone" : shared ? "screen" : participants.length === 1 ? "two" : "grid";
    set(this.stage, { "data-layout": layout, "data-count": participants.length + 1 });
    const waiting = this.stage.querySelector(".waiting");
    if (layout !== "alone") waiting?.remove();
    else if (!waiting)
      this.stage.append(
        el(
          "div",
          { class: "waiting" },
          el("span", { class: "calling" }, avatar(this.options.match?.others ?? [this.call.caller])),
        ),
      );
  }

  /** @param {string} id */
  #listenWith(id) {
    for (const tile of this.#tiles.values()) void tile.listenWith(id);
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

  async #compare() {
    if (!this.words.hidden) return this.#hideWords();
    const all = await this.call.words();
    const parts = all.map(({ user, words }) =>
      el(
        "div",
        {},
        el("p", {}, `Read these to ${user}. If they see the same, nobody listens in, not even the server.`),
        el(
          "ol",
          {},
          ...words.map(({ picture, word }) => el("li", {}, el("span", { "aria-hidden": "true" }, picture), word)),
        ),
      ),
    );
    fill(
      this.words,
      iconButton("close", "Close", () => this.#hideWords()),
      ...parts,
    );
    this.words.hidden = parts.length === 0;
    this.words.focus();
  }

  #hideWords() {
    this.words.hidden = true;
    this.verify.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !this.isSmall) {
      event.stopPropagation();
      if (this.call.end) this.close();
      else if (!this.words.hidden) this.#hideWords();
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
    const again = el("button", { class: "primary", type: "button" }, "Call again");
    const close = el("button", { class: "plain", type: "button" }, "Close");
    again.addEventListener("click", () => {
      this.close();
      this.options.again();
    });
    close.addEventListener("click", () => this.close());
    set(this.element, { "data-state": "ended" });
    fill(
      this.element,
      el(
        "div",
        { class: "ended", role: "status" },
        avatar(this.options.match?.others ?? [call.caller]),
        el("h2", {}, endTitle(end)),
        el("p", { class: "length" }, length),
        length !== "" && stars((rating) => void call.feedback(rating).catch(() => {})),
        el("div", { class: "choices" }, again, close),
      ),
    );
    close.focus();
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

/** @param {(rating: 1 | 2 | 3 | 4 | 5) => void} rated */
function stars(rated) {
  const group = el("div", { class: "stars", role: "group", "aria-label": "How was it?" });
  for (const rating of /** @type {const} */ ([1, 2, 3, 4, 5])) {
    const button = iconButton("star", rating === 1 ? "1 star" : `${rating} stars`, () => {
      rated(rating);
      for (const [index, each] of [...group.children].entries())
        set(each, { "data-on": index < rating, disabled: true });
    });
    group.append(button);
  }
  return group;
}
