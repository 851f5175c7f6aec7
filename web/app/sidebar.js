/** The list of matches, and above it who is signed in. */

/** @import { Duologue, Entry, MatchView } from "../duologue.js" */
/** @import { IconName } from "./dom.js" */

import { accountButton } from "./account.js";
import { callTitle } from "./call_words.js";
import { el, fill, icon, iconButton, set } from "./dom.js";
import { avatar, blockedIn, mood, presenceLine, statusOf, titleOf, typingLine } from "./people.js";
import { themeButton } from "./theme.js";
import { ago, shortTimeOf } from "./times.js";

export class Sidebar {
  /** @type {Map<string, HTMLButtonElement>} */
  #buttons = new Map();
  #open = "";
  #due = false;

  /**
   * @param {Duologue} chat
   * @param {object} options
   * @param {(match: string) => void} options.open
   * @param {(() => void) | undefined} options.newMatch Undefined where the page cannot make matches.
   * @param {() => void} options.check Try out calls.
   * @param {() => void} options.signOut
   */
  constructor(chat, { open, newMatch, check, signOut }) {
    this.chat = chat;
    this.openMatch = open;
    this.newMatch = newMatch;
    this.list = el("ul", { class: "matches" });
    this.total = el("span", { class: "badge", role: "img", hidden: true });
    this.empty = el("div", { class: "empty" });
    this.more = el("button", { class: "more", type: "button", hidden: true }, "Older conversations");
    this.more.addEventListener("click", () => void chat.moreMatches().catch(() => {}));
    this.element = el(
      "nav",
      { class: "sidebar", "aria-label": "Conversations" },
      el(
        "header",
        {},
        accountButton(chat),
        iconButton("headset", "Test camera, sound and connection", check),
        themeButton(),
        iconButton("leave", "Sign out", signOut),
      ),
      el(
        "div",
        { class: "title" },
        el("h1", {}, "Chats"),
        this.total,
        newMatch && iconButton("add", "New match", newMatch),
      ),
      this.list,
      this.more,
      this.empty,
    );
    this.list.addEventListener("keydown", (event) => this.#move(event));
    for (const name of /** @type {const} */ (["match", "entry", "outbox", "presence", "typing", "blocked", "ready"])) {
      chat.on(name, () => this.#soon());
    }
    this.#show();
  }

  /** Which conversation is open. @param {string} match */
  select(match) {
    this.#open = match;
    this.#show();
  }

  /** Put the keyboard where the list was left. */
  focus() {
    const at = this.#buttons.get(this.#open) ?? this.list.querySelector("button");
    if (at) at.focus();
    else this.element.querySelector("button")?.focus();
  }

  /** Draw it again: times are said from now. */
  refresh() {
    this.#soon();
  }

  /** Many events, one drawing. */
  #soon() {
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => {
      this.#due = false;
      this.#show();
    });
  }

  #show() {
    const matches = this.chat.matches();
    const ids = new Set(matches.map(({ match }) => match));
    for (const [id, button] of this.#buttons) {
      if (ids.has(id)) continue;
      button.parentElement?.remove();
      this.#buttons.delete(id);
    }
    const at = this.#buttons.has(this.#open) ? this.#open : matches[0]?.match;
    for (const match of matches) this.#draw(match, match.match === at);
    this.#order(matches);
    this.more.hidden = !this.chat.hasMoreMatches || this.chat.status.state !== "online";
    this.#showEmpty(matches.length === 0);
    const { unread } = this.chat;
    set(this.total, { "aria-label": `${unread} unread in all` });
    this.total.textContent = many(unread);
    this.total.hidden = unread === 0;
  }

  /** @param {MatchView} match @param {boolean} tabStop */
  #draw(match, tabStop) {
    const known = this.#buttons.get(match.match);
    const button = known ?? el("button", { type: "button", class: "match" });
    if (!known) {
      this.#buttons.set(match.match, button);
      button.addEventListener("click", () => this.openMatch(match.match));
      this.list.append(el("li", {}, button));
    }
    const title = titleOf(match);
    const status = statusOf(this.chat, match);
    const preview = this.#preview(match);
    const feels = mood(this.chat, match, ago);
    const at = preview.at ?? match.last_at;
    const when = at ? shortTimeOf(at) : "";
    const open = match.match === this.#open;
    const unread = match.unread > 0 ? `${match.unread} unread` : "";
    const how = match.others.length === 1 ? presenceLine(this.chat, match, ago) : status === "online" ? "Online" : "";
    const label = [title, how, unread, preview.text, when].filter(Boolean).join(", ");
    set(button, { "aria-current": open ? "true" : undefined, "aria-label": label, tabindex: tabStop ? 0 : -1 });
    const picture = JSON.stringify([label, status, preview, feels]);
    if (button.dataset.drawn === picture) return;
    button.dataset.drawn = picture;
    fill(
      button,
      avatar(match.others, status),
      el(
        "span",
        { class: "title-line" },
        el("span", { class: "name" }, title),
        el("span", { class: "mood", title: feels }, feels),
        el("span", { class: "when" }, when),
      ),
      el(
        "span",
        { class: preview.typing ? "preview typing" : "preview" },
        preview.sign && icon(preview.sign),
        el("span", {}, preview.text),
        match.unread > 0 && el("span", { class: "badge" }, many(match.unread)),
      ),
    );
  }

  /** The order of the log of each match, newest first; the keyboard stays where it is. @param {MatchView[]} matches */
  #order(matches) {
    const rows = matches.flatMap(({ match }) => this.#buttons.get(match)?.parentElement ?? []);
    if (rows.every((row, index) => this.list.children[index] === row)) return;
    const focused = document.activeElement;
    fill(this.list, ...rows);
    if (focused instanceof HTMLElement && this.list.contains(focused)) focused.focus();
  }

  /**
   * @param {MatchView} match
   * @returns {{text: string, at?: number | undefined, typing?: boolean, sign?: IconName}}
   */
  #preview(match) {
    const { chat } = this;
    const typing = typingLine(chat.typingIn(match.match), chat.recordingIn(match.match));
    if (typing) return { text: typing, typing: true };
    const unsent = chat.unsent(match.match).at(-1);
    if (unsent) return { text: `You: ${unsent.body.text ?? ""}`, sign: unsent.state === "failed" ? "failed" : "clock" };
    if (blockedIn(chat, match) !== undefined) return { text: "Blocked", sign: "block" };
    const last = this.#lastShown(match);
    return { text: this.#words(last, match.others.length > 1), at: last?.created_at };
  }

  /** What is hidden from this user moves nothing. @param {MatchView} match */
  #lastShown({ match, last }) {
    if (last?.type !== "skip") return last;
    return this.chat.entries(match).entries.findLast(({ type }) => type !== "skip") ?? null;
  }

  /** @param {Entry | null} last @param {boolean} group */
  #words(last, group) {
    if (last?.type === "members") return last.seq === 1 ? "New match: say hello" : "Members changed";
    if (last?.type === "call") return callTitle(last, this.chat.user);
    if (last?.type !== "message") return "";
    const text = last.body.text ?? "Sent by an app";
    if (last.sender === this.chat.user) return `You: ${text}`;
    return group ? `${last.sender}: ${text}` : text;
  }

  /** @param {boolean} empty */
  #showEmpty(empty) {
    this.empty.hidden = !empty;
    if (!empty || this.empty.childElementCount) return;
    const button = this.newMatch && el("button", { class: "primary", type: "button" }, "Start a match");
    button?.addEventListener("click", () => this.newMatch?.());
    fill(this.empty, el("p", {}, "No conversations yet."), button);
  }

  /** Arrow keys, Home and End go through the list. @param {KeyboardEvent} event */
  #move(event) {
    const buttons = [...this.list.querySelectorAll("button")];
    const index = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const steps = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: buttons.length - 1 };
    const to = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (to === undefined || index < 0) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(buttons.length - 1, to))]?.focus();
  }
}

/** @param {number} count */
function many(count) {
  return count > 99 ? "99+" : String(count);
}
