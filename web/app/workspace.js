/** Everything after signing in: list and conversation, which of them is shown, the title, what is read aloud. */

/** @import { MessageEntry } from "../duologue.js" */
/** @import { Backend } from "./backend.js" */
/** @import { Account } from "./sign_in.js" */

import { Duologue, DuologueError } from "../duologue.js";
import { connectionBanner } from "./banner.js";
import { CallDesk } from "./calls.js";
import { Conversation } from "./conversation.js";
import { el, fill } from "./dom.js";
import { openNewMatch } from "./new_match.js";
import { titleOf } from "./people.js";
import { Sidebar } from "./sidebar.js";

/** As many as the server lets one connection watch. */
const WATCHED = 200;

export class Workspace {
  /** @type {Conversation | undefined} */
  #conversation;
  #listening = new AbortController();
  #watchDue = false;

  /**
   * @param {Account} account
   * @param {Backend} backend
   * @param {(why?: string) => void} signedOut
   */
  constructor(account, backend, signedOut) {
    this.backend = backend;
    this.signedOut = signedOut;
    this.chat = new Duologue({ url: socketUrl(), user: account.user, token: account.token, device: "web" });
    this.element = el("div", { class: "app", "data-shown": "list" });
    this.spoken = el("p", { class: "sr-only", "aria-live": "polite" });
    this.desk = new CallDesk(this.chat, {
      behind: () => [...this.element.children].filter((child) => child !== this.desk.element),
      titled: () => this.#showTitle(),
      focus: () => this.#focus(),
    });
  }

  /** Show what is kept from last time, then connect. */
  async open() {
    const { chat } = this;
    await chat.open();
    const newMatch = () => openNewMatch((names) => this.#start(names), chat.limits.members);
    this.sidebar = new Sidebar(chat, {
      open: (match) => go(match),
      newMatch: this.backend.isDevelopment ? newMatch : undefined,
      check: () => this.desk.check(),
      signOut: () => void this.#signOut(),
    });
    this.nothing = el("main", { class: "nothing" }, el("p", {}, "Choose a conversation, or start a new one."));
    const banner = connectionBanner(chat, (why) => void this.#signOut(why));
    fill(this.element, banner, this.sidebar.element, this.nothing, this.spoken, this.desk.element);
    chat.on("message", (message) => this.#speak(message));
    chat.on("unread", () => this.#showTitle());
    chat.on("match", ({ match, change }) => this.#matchChanged(match, change));
    chat.on("ready", () => this.#follow());
    const { signal } = this.#listening;
    globalThis.addEventListener("hashchange", () => this.#follow(), { signal });
    document.addEventListener("keydown", (event) => this.#key(event), { signal });
    const minute = setInterval(() => this.sidebar?.refresh(), 60_000);
    signal.addEventListener("abort", () => clearInterval(minute));
    this.#follow();
    this.#showTitle();
    chat.connect();
  }

  /** Show the conversation that the address names. */
  #follow() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    const match = wanted ? this.chat.match(wanted) : undefined;
    if (match && this.#conversation?.id === match.match) return;
    this.#conversation?.end();
    this.#conversation = match && new Conversation(this.chat, match, this.desk, () => go(""));
    const shown = this.#conversation?.element ?? this.nothing;
    const place = this.element.querySelector(":scope > main");
    if (shown && place !== shown) place?.replaceWith(shown);
    this.element.dataset.shown = this.#conversation ? "conversation" : "list";
    this.sidebar?.select(match?.match ?? "");
    void this.#conversation?.open();
    if (this.#conversation || document.activeElement === document.body) this.#focus();
  }

  #focus() {
    // On a touch screen the keyboard would cover what is to be read.
    if (this.#conversation && matchMedia("(hover: hover)").matches) this.#conversation.field.focus();
    else if (!this.#conversation) this.sidebar?.focus();
  }

  /** @param {string} match @param {string} change */
  #matchChanged(match, change) {
    if (change === "left") this.#left(match);
    if (change !== "made" && change !== "left" && change !== "changed") return;
    this.#watchSoon();
  }

  /** Many matches at once, one request. */
  #watchSoon() {
    if (this.#watchDue) return;
    this.#watchDue = true;
    setTimeout(() => {
      this.#watchDue = false;
      const newest = this.chat.matches().flatMap(({ others }) => others);
      void this.chat.watch(newest.slice(0, WATCHED));
    });
  }

  /** What was to be sent to a match that we are no longer in has nowhere to be shown. @param {string} match */
  #left(match) {
    for (const { client_id } of this.chat.unsent(match)) void this.chat.discard(client_id);
    if (this.#conversation?.id === match) go("");
  }

  /** @param {string[]} names */
  async #start(names) {
    const { chat } = this;
    const others = names.filter((name) => name !== chat.user);
    if (!others.length) throw new DuologueError("bad_request", "That is you. Who else?");
    const same = chat
      .matches()
      .find((match) => others.length === 1 && match.others.length === 1 && match.others[0] === others[0]);
    const match = same?.match ?? (await this.backend.makeMatch([chat.user, ...others]));
    if (!chat.match(match)) await this.#known(match);
    go(match);
  }

  /** The server tells us of the match in a moment. @param {string} match */
  #known(match) {
    return new Promise((resolve) => {
      const off = this.chat.on("match", (event) => {
        if (event.match !== match) return;
        off();
        resolve(undefined);
      });
    });
  }

  /** Say what came in, for those who cannot see it come. @param {MessageEntry} message */
  #speak({ match, sender, body }) {
    if (sender === this.chat.user) return;
    const open = this.#conversation?.id === match;
    const where = this.chat.match(match);
    const said = open
      ? `${sender}: ${body.text ?? ""}`
      : `New message from ${sender} in ${where ? titleOf(where) : "a conversation"}`;
    this.spoken.textContent = said;
  }

  #showTitle() {
    const plain = this.chat.unread ? `(${this.chat.unread}) Duologue` : "Duologue";
    document.title = this.desk.ringing || plain;
    // Of an installed page: the number on its picture.
    void navigator.setAppBadge?.(this.chat.unread).catch(() => {});
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key !== "Escape" || !this.#conversation || document.querySelector("dialog[open]") || this.desk.coversAll)
      return;
    event.preventDefault();
    go("");
    this.sidebar?.focus();
  }

  /** @param {string} [why] */
  async #signOut(why) {
    this.#listening.abort();
    this.#conversation?.end();
    this.desk.end();
    await this.chat.close();
    history.replaceState(null, "", location.pathname);
    document.title = "Duologue";
    void navigator.clearAppBadge?.().catch(() => {});
    this.signedOut(why);
  }
}

/** Make `match` the address of the page; "" for the list. @param {string} match */
function go(match) {
  location.hash = match ? encodeURIComponent(match) : "";
}

function socketUrl() {
  const url = new URL("/ws", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
