/** One picture of a call: somebody's camera or screen, or their initials where there is none. */

/** @import { LocalMedia, Participant } from "../duologue.js" */
/** @import { QualityLevel } from "../duologue/call_types.js" */

import { el, icon, set } from "./dom.js";
import { avatar } from "./people.js";

const LEVELS = {
  excellent: "Connection: excellent",
  good: "Connection: good",
  poor: "Connection: poor",
  lost: "Connection: lost",
};

/** What the other side sees and hears of us. @param {QualityLevel | undefined} level */
function heardBadly(level) {
  if (level === "lost") return "They do not receive you";
  return level === "poor" ? "They receive you badly" : "";
}

export class Tile {
  /**
   * @param {string} name Whose.
   * @param {{mine?: boolean, screen?: boolean}} [what]
   */
  constructor(name, { mine = false, screen = false } = {}) {
    this.video = el("video", { autoplay: true, playsinline: true, "aria-hidden": "true" });
    // An own voice would come back; a screen has no sound here.
    this.video.muted = mine || screen;
    this.muted = el("span", { class: "muted" }, icon("mic-off", "Microphone off"));
    this.bars = el("span", { class: "bars", role: "img", hidden: true }, el("i"), el("i"), el("i"));
    this.note = el("span", { class: "note", hidden: true });
    const label = screen ? (mine ? "Your screen" : `${name}'s screen`) : mine ? "You" : name;
    this.element = el(
      "figure",
      { class: "tile", "aria-label": label, "data-mine": mine, "data-screen": screen },
      this.video,
      el("span", { class: "nobody" }, avatar([name])),
      this.note,
      el("figcaption", {}, this.muted, el("span", { class: "name" }, label), this.bars),
    );
  }

  /** @param {Participant} participant */
  show({ stream, media, reconnecting, state, level, theirLevel, route }) {
    this.#play(stream);
    set(this.element, { "data-picture": media.video && state === "connected" });
    this.muted.hidden = media.audio || state === "new";
    this.#say(reconnecting ? "Reconnecting…" : state !== "connected" ? "Connecting…" : heardBadly(theirLevel));
    this.bars.hidden = state !== "connected";
    const way = route?.local === "relay" || route?.remote === "relay" ? ", through a relay" : "";
    const said = `${LEVELS[level]}${way}`;
    if (this.bars.title !== said) set(this.bars, { "data-level": level, "aria-label": said, title: said });
  }

  /** @param {Participant} participant */
  showScreen({ screenStream, media }) {
    this.#play(screenStream);
    set(this.element, { "data-picture": media.screen });
    this.muted.hidden = true;
  }

  /** @param {LocalMedia} local */
  showSelf({ stream, state }) {
    this.#play(stream);
    set(this.element, { "data-picture": state.video });
    this.muted.hidden = state.audio;
  }

  /** @param {LocalMedia} local */
  showOwnScreen({ screenStream }) {
    this.#play(screenStream);
    set(this.element, { "data-picture": true });
    this.muted.hidden = true;
  }

  /** Listen by this device, where the browser lets one choose. @param {string} id */
  async listenWith(id) {
    if (this.video.muted || !("setSinkId" in this.video)) return;
    await this.video.setSinkId(id).catch(() => {});
  }

  end() {
    this.video.srcObject = null;
    this.element.remove();
  }

  /** @param {MediaStream} stream */
  #play(stream) {
    if (this.video.srcObject === stream) return;
    this.video.srcObject = stream;
    // Refused before the page was touched; the next touch plays it.
    this.video
      .play()
      .catch(() =>
        document.addEventListener("pointerdown", () => void this.video.play().catch(() => {}), { once: true }),
      );
  }

  /** @param {string} note */
  #say(note) {
    this.note.hidden = note === "";
    if (this.note.textContent !== note) this.note.textContent = note;
  }
}
