/** The words that two people compare aloud: shown on request, for each of the others. */

/** @import { Call } from "../duologue.js" */

import { el, fill, iconButton } from "./dom.js";

export class CallWords {
  /** @param {Call} call @param {() => void} closed */
  constructor(call, closed) {
    this.call = call;
    this.closed = closed;
    this.element = el("div", {
      class: "call-words",
      role: "group",
      "aria-label": "Words to compare",
      tabindex: -1,
      hidden: true,
    });
  }

  get isOpen() {
    return !this.element.hidden;
  }

  async toggle() {
    if (this.isOpen) return this.close();
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
      this.element,
      iconButton("close", "Close", () => this.close()),
      ...parts,
    );
    this.element.hidden = parts.length === 0;
    this.element.focus();
  }

  close() {
    this.element.hidden = true;
    this.closed();
  }
}
