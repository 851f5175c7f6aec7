/** One conversation: its head, timeline and composer. */

/** @import { Duologue, MatchView } from "../duologue.js" */
/** @import { CallDesk } from "./calls.js" */

import { ask, tell } from "./ask.js";
import { composer } from "./composer.js";
import { el, fill, icon, iconButton } from "./dom.js";
import { menuButton } from "./menu.js";
import { avatar, blockedIn, presenceLine, statusOf, titleOf, typingLine } from "./people.js";
import { Timeline } from "./timeline.js";
import { ago } from "./times.js";

const PAGE = 50;
/** Pages read at once to find where the new messages begin. */
const NEW_PAGES = 4;

export class Conversation {
  /** @type {(() => void)[]} */
  #off = [];
  #listening = new AbortController();
  /** @type {Promise<void> | undefined} */
  #reading;
  /** The reader sees what they came for: nothing counts as read before. */
  #placed = false;
  #complete = false;
  /** Whom the line in place of the field names. @type {string | undefined} */
  #cutFor;
  /** @type {HTMLElement | undefined} */
  ways;
  /** @type {HTMLElement | undefined} */
  join;
  /** @type {MatchView} */
  #match;

  /**
   * @param {Duologue} chat
   * @param {MatchView} match
   * @param {CallDesk} desk
   * @param {() => void} goBack
   */
  constructor(chat, match, desk, goBack) {
    this.chat = chat;
    this.desk = desk;
    this.id = match.match;
    this.#match = match;
    const title = titleOf(match);
    this.picture = el("span", { class: "picture" });
    this.heading = el("h2", {});
    this.line = el("p", { class: "presence" });
    this.typing = el(
      "p",
      { class: "typing", hidden: true },
      el("span", { class: "dots", "aria-hidden": "true" }),
      el("span", {}),
    );
    this.timeline = new Timeline({
      me: chat.user,
      label: `Messages with ${title}`,
      match: () => this.#match,
      needOlder: () => void this.#older(),
      atEnd: () => this.#markRead(),
      retry: (clientId) => void chat.retry(clientId),
      discard: (clientId) => void chat.discard(clientId),
      call: (media) => desk.call(this.id, media),
    });
    const { form, field } = composer({
      match: this.id,
      label: `Message to ${title}`,
      maxChars: chat.limits.text_chars,
      send: (text) => void chat.send(this.id, text),
      typing: () => chat.typing(this.id),
      emptied: () => chat.typingStopped(this.id),
    });
    this.field = field;
    this.form = form;
    this.cut = el("div", { class: "cut", hidden: true });
    const back = iconButton("back", "Back to the list", goBack);
    back.classList.add("back");
    this.element = el(
      "main",
      { class: "conversation", "aria-label": `Conversation with ${title}` },
      el(
        "header",
        {},
        back,
        this.picture,
        el("div", { class: "who" }, this.heading, this.line),
        this.#callButtons(),
        menuButton("More about this conversation", () => this.#menu()),
      ),
      this.timeline.element,
      el("div", { class: "typing-slot" }, this.typing),
      form,
      this.cut,
    );
    this.#listen();
    this.#showHead();
    this.#showCut();
  }

  /** Fill in; call once the element is in the page. */
  async open() {
    const { read, unread } = this.#match;
    if (unread > 0) this.timeline.markNewAfter(read);
    this.#fill();
    for (let page = 0; page < NEW_PAGES && unread > 0 && this.timeline.firstSeq > read + 1; page += 1)
      await this.#older();
    this.#placed = true;
    this.timeline.toEnd(true);
    if (this.timeline.hasRoom) await this.#older();
  }

  /** Stop listening; the element can go. */
  end() {
    for (const off of this.#off) off();
    this.#listening.abort();
    this.chat.typingStopped(this.id);
  }

  #listen() {
    const { chat, id } = this;
    const ours = (/** @type {{match: string}} */ { match }) => match === id;
    this.#off = [
      chat.on("entry", (entry) => ours(entry) && this.timeline.append(entry)),
      chat.on("receipt", (event) => ours(event) && this.#refresh()),
      chat.on("typing", (event) => ours(event) && this.#showTyping(event.users)),
      chat.on("presence", ({ user }) => this.#match.others.includes(user) && this.#showHead()),
      chat.on("blocked", () => {
        this.#refresh();
        this.#showCut();
        this.#showOngoing();
      }),
      chat.on("match", (event) => ours(event) && this.#changed(event.change)),
      chat.calls.on("ongoing", () => this.#showOngoing()),
      chat.calls.on("joined", () => this.#showOngoing()),
      chat.calls.on("ended", () => this.#showOngoing()),
      chat.on("ready", () => this.timeline.hasRoom && void this.#older()),
      chat.on("outbox", ({ item, state }) => {
        if (!ours(item)) return;
        if (state === "discarded") this.timeline.dropUnsent(item.client_id);
        else if (state === "stored") this.timeline.stored(item.client_id);
        else if (state !== "sending") this.timeline.unsent(item);
      }),
    ];
    const { signal } = this.#listening;
    document.addEventListener("visibilitychange", () => this.#markRead(), { signal });
    globalThis.addEventListener("focus", () => this.#markRead(), { signal });
    const minute = setInterval(() => this.#showHead(), 30_000);
    signal.addEventListener("abort", () => clearInterval(minute));
  }

  #fill() {
    const { entries, complete } = this.chat.entries(this.id);
    this.timeline.clear();
    this.timeline.prepend(entries);
    for (const item of this.chat.unsent(this.id)) this.timeline.unsent(item);
    this.#complete = complete;
    this.timeline.above(complete ? "complete" : "");
    this.#showTyping(this.chat.typingIn(this.id));
  }

  /** @param {string} change */
  #changed(change) {
    this.#refresh();
    this.#showCut(); // a group may have become a pair, or the other way round
    if (change !== "reset") return;
    this.#fill();
    if (this.timeline.hasRoom) void this.#older();
  }

  #refresh() {
    this.#match = this.chat.match(this.id) ?? this.#match;
    this.timeline.refreshTicks();
    this.#showHead();
    if (this.timeline.isAtEnd) this.#markRead();
  }

  /** Read the page above what is shown, and further ones while there is room. Asked again meanwhile: the same reading. */
  async #older() {
    this.#reading ??= this.#readOlder().finally(() => {
      this.#reading = undefined;
    });
    await this.#reading;
  }

  async #readOlder() {
    while (!this.#complete && this.chat.status.state === "online") {
      this.timeline.above("loading");
      const before = this.timeline.first;
      try {
        const page = await this.chat.history(this.id, { limit: PAGE, ...(before === undefined ? {} : { before }) });
        this.#complete = page.complete;
        this.timeline.prepend(page.entries);
      } catch {
        // No connection: `ready` or the next scroll asks again.
        break;
      } finally {
        this.timeline.above(this.#complete ? "complete" : "");
      }
      if (!this.timeline.hasRoom || this.timeline.first === before) break;
    }
  }

  #markRead() {
    const sees = document.visibilityState === "visible" && document.hasFocus() && this.timeline.isAtEnd;
    if (sees && this.#placed && this.element.isConnected) this.chat.read(this.id);
  }

  #showHead() {
    fill(this.picture, avatar(this.#match.others, statusOf(this.chat, this.#match)));
    this.heading.textContent = titleOf(this.#match);
    const line = presenceLine(this.chat, this.#match, ago);
    fill(this.line, this.#match.private_read && icon("private", "You read privately"), line);
    this.line.title = line;
  }

  #menu() {
    const { private_read, others } = this.#match;
    return [
      {
        label: "Read privately",
        hint: "Nobody sees what you have read",
        icon: /** @type {const} */ ("private"),
        checked: private_read,
        press: () => void this.#readPrivately(!private_read),
      },
      ...others.map((user) =>
        this.chat.blocked.has(user)
          ? { label: `Unblock ${user}`, icon: /** @type {const} */ ("block"), press: () => void this.#unblock(user) }
          : {
              label: `Block ${user}…`,
              icon: /** @type {const} */ ("block"),
              grave: true,
              press: () => this.#block(user),
            },
      ),
    ];
  }

  /** @param {boolean} on */
  async #readPrivately(on) {
    try {
      await this.chat.setPrivateRead(this.id, on);
    } catch (error) {
      tell("Read privately", error);
    }
  }

  /** @param {string} user */
  #block(user) {
    const group = this.#match.others.length > 1;
    const between = `No messages and no calls between you, and neither sees whether the other is here.`;
    ask({
      title: `Block ${user}?`,
      text: [
        group ? `You do not see what ${user} writes in groups any more, nor what they wrote. ${between}` : between,
        `${user} is not told. You can take it back at any time.`,
      ],
      yes: `Block ${user}`,
      act: () => this.chat.block(user),
    });
  }

  /** @param {string} user */
  async #unblock(user) {
    try {
      await this.chat.unblock(user);
      if (!this.form.hidden) this.field.focus();
    } catch (error) {
      tell(`Unblock ${user}`, error);
    }
  }

  /** In place of the field: why there is nothing to write here. */
  #showCut() {
    const user = blockedIn(this.chat, this.#match);
    if (user === this.#cutFor) return;
    this.#cutFor = user;
    const hadFocus = [this.form, this.cut].some((each) => each.contains(document.activeElement));
    this.cut.hidden = user === undefined;
    this.form.hidden = user !== undefined;
    if (user !== undefined) this.#fillCut(user);
    if (hadFocus && user !== undefined) this.cut.querySelector("button")?.focus();
    else if (hadFocus) this.field.focus();
  }

  /** @param {string} user */
  #fillCut(user) {
    const button = el("button", { class: "secondary", type: "button" }, `Unblock ${user}`);
    button.addEventListener("click", () => void this.#unblock(user));
    fill(this.cut, icon("block"), el("p", {}, `You have blocked ${user}. Nothing passes between you.`), button);
  }

  #callButtons() {
    const call = (/** @type {"audio" | "video"} */ media) => this.desk.call(this.id, media);
    const voice = iconButton("phone", "Voice call", () => call("audio"));
    const video = iconButton("camera", "Video call", () => call("video"));
    this.join = el("button", { class: "join", type: "button", hidden: true });
    this.join.addEventListener("click", () => call(this.chat.calls.ongoing(this.id)?.media ?? "audio"));
    this.ways = el("div", { class: "ways" }, this.join, voice, video);
    queueMicrotask(() => this.#showOngoing());
    return this.ways;
  }

  /** A call goes on here without this client: it can be joined. */
  #showOngoing() {
    const { calls } = this.chat;
    const known = calls.ongoing(this.id);
    const mine = calls.current?.match === this.id;
    const cut = blockedIn(this.chat, this.#match) !== undefined;
    for (const button of this.ways?.children ?? [])
      button.toggleAttribute("hidden", known !== undefined || mine || cut);
    if (!this.join) return;
    this.join.hidden = known === undefined && !mine;
    this.join.textContent = mine ? "Show call" : known?.mine ? "Continue here" : "Join call";
  }

  /** @param {string[]} users */
  #showTyping(users) {
    this.typing.hidden = users.length === 0;
    if (this.typing.lastElementChild)
      this.typing.lastElementChild.textContent = typingLine(users, this.chat.recordingIn(this.id));
  }
}
