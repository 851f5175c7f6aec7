/** Calls in the app: the sheet when somebody calls, the view of the call one is in, starting and joining. */

/** @import { Call, Duologue, Incoming } from "../duologue.js" */

import { DuologueError } from "../duologue.js";
import { openCheck } from "./call_check.js";
import { callSheet } from "./call_sheet.js";
import { CallView } from "./call_view.js";
import { endTitle, refusal } from "./call_words.js";
import { el } from "./dom.js";

const NOTE_MS = 6_000;

export class CallDesk {
  /** @type {Map<string, {close: () => void, element: HTMLElement}>} */
  #sheets = new Map();
  /** @type {CallView | undefined} */
  #view;
  #busy = false;
  /** @type {(() => void)[]} */
  #off;

  /**
   * @param {Duologue} chat
   * @param {object} page
   * @param {() => Element[]} page.behind What a call covers.
   * @param {() => void} page.titled The title may have changed.
   * @param {() => void} page.focus Have the focus where people go on when a call is out of the way.
   */
  constructor(chat, { behind, titled, focus }) {
    this.chat = chat;
    this.behind = behind;
    this.titled = titled;
    this.focus = focus;
    this.note = el("p", { class: "call-note", role: "alert", hidden: true });
    this.element = el("div", { class: "calls" }, this.note);
    const { calls } = chat;
    this.#off = [
      calls.on("incoming", (incoming) => this.#ring(incoming)),
      calls.on("stopped", ({ call, reason }) => this.#quiet(call, reason)),
      calls.on("joined", (call) => this.#show(call)),
    ];
    globalThis.addEventListener("pagehide", this.#leave);
    this.#off.push(() => globalThis.removeEventListener("pagehide", this.#leave));
  }

  /** Who calls, for the title of the page; "" when nobody does. */
  get ringing() {
    const [first] = this.chat.calls.incoming();
    return first ? `${first.caller} is calling…` : "";
  }

  /** The call one is in covers the page. */
  get coversAll() {
    return this.#view !== undefined && !this.#view.isSmall;
  }

  /** @param {string} match @param {"audio" | "video"} media */
  call(match, media) {
    const { calls } = this.chat;
    if (calls.current?.match === match) return this.#view?.resize(false);
    const known = calls.ongoing(match);
    const [ringing] = calls.incoming().filter((each) => each.match === match);
    const wish = { media, replace: calls.current !== undefined };
    void this.#try(async () => {
      if (ringing) return calls.accept(ringing.call, wish);
      if (known) return calls.join(known.call, { ...wish, takeover: known.mine });
      try {
        return await calls.start(match, wish);
      } catch (problem) {
        // Somebody else was faster, and rings others.
        if (!(problem instanceof DuologueError) || problem.code !== "call_exists" || !problem.call) throw problem;
        return calls.join(problem.call, wish);
      }
    });
  }

  /** Try out devices and relays. */
  check() {
    openCheck(this.chat);
  }

  /** Signed out. */
  end() {
    for (const off of this.#off) off();
    for (const sheet of this.#sheets.values()) sheet.close();
    this.#view?.close();
  }

  #leave = () => {
    void this.chat.calls.current?.hangUp().catch(() => {});
  };

  /** @param {Incoming} incoming */
  #ring(incoming) {
    const { calls } = this.chat;
    const sheet = callSheet(incoming, this.chat.match(incoming.match), {
      accept: (video) => {
        const media = video ? "video" : "audio";
        void this.#try(() => calls.accept(incoming.call, { media, replace: calls.current !== undefined }));
      },
      decline: () => void calls.decline(incoming.call).catch(() => {}),
      ignore: () => calls.ignore(incoming.call),
    });
    this.#sheets.set(incoming.call, sheet);
    this.element.append(sheet.element);
    calls.alerting(incoming.call);
    this.titled();
  }

  /** @param {string} call @param {string} reason */
  #quiet(call, reason) {
    if (reason.endsWith("_elsewhere") && this.#sheets.has(call)) this.#say(`${endTitle({ reason, duration_ms: 0 })}.`);
    const sheet = this.#sheets.get(call);
    const focused = sheet?.element.contains(document.activeElement);
    sheet?.close();
    this.#sheets.delete(call);
    if (focused) this.#handOn();
    this.titled();
  }

  /** @param {Call} call */
  #show(call) {
    this.#view?.close();
    const view = new CallView(call, {
      me: this.chat.user,
      match: this.chat.match(call.match),
      again: () => this.call(call.match, call.media),
      closed: () => {
        if (this.#view !== view) return;
        this.#view = undefined;
        this.#cover(false);
        this.#handOn();
      },
      sized: (small) => {
        this.#cover(!small);
        if (small) this.#handOn(view.element);
      },
      said: (text) => this.#say(text),
    });
    this.#view = view;
    this.element.prepend(view.element);
    this.#cover(true);
  }

  /** What is covered cannot be reached by the keyboard either. @param {boolean} covered */
  #cover(covered) {
    for (const element of this.behind()) element.toggleAttribute("inert", covered);
  }

  /** The focus was in something that is gone, or out of the way: it goes to what comes next. @param {Element} [away] */
  #handOn(away) {
    const at = document.activeElement;
    if (at && at !== document.body && !away?.contains(at) && at.checkVisibility()) return;
    const [sheet] = this.#sheets.values();
    if (sheet) sheet.element.focus();
    else if (this.coversAll) this.#view?.element.focus();
    else this.focus();
  }

  /** @param {() => Promise<Call>} act */
  async #try(act) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await act();
    } catch (problem) {
      this.#say(refusal(problem instanceof DuologueError ? problem.code : ""));
    } finally {
      this.#busy = false;
    }
  }

  /** @param {string} text */
  #say(text) {
    this.note.textContent = text;
    this.note.hidden = false;
    setTimeout(() => {
      if (this.note.textContent === text) this.note.hidden = true;
    }, NOTE_MS);
  }
}
