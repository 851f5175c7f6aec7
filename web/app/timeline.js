/**
 * The rows of a conversation in their scroller: oldest first, what is unsent last. Keeps the reader's place when older
 * rows come in above, and at the end when new ones come in below.
 */

/** @import { Entry, MatchView, MessageEntry, OutboxItem } from "../duologue.js" */
/** @import { Row } from "./bubbles.js" */

import { callRow, messageRow, noticeRow, place, settle, showState, ticksOf, unsentRow } from "./bubbles.js";
import { el, fill, icon } from "./dom.js";

/** Closer to the end than this counts as being there. */
const NEAR_END_PX = 80;
/** Closer to the start than this reads older messages. */
const NEAR_START_PX = 600;

export class Timeline {
  /** @type {Row[]} In the order shown; unsent ones at the end. */
  #rows = [];
  /** The oldest entry given, which may be one that has no row. @type {Entry | undefined} */
  #oldest;
  #newBelow = 0;
  #newFrom = Number.POSITIVE_INFINITY;
  #stick = true;

  /**
   * @param {object} options
   * @param {string} options.me
   * @param {string} options.label
   * @param {() => MatchView} options.match
   * @param {() => void} options.needOlder The reader comes near the first row.
   * @param {() => void} options.atEnd The reader sees the last row.
   * @param {(clientId: string) => void} options.retry
   * @param {(clientId: string) => void} options.discard
   * @param {(media: "audio" | "video") => void} options.call
   */
  constructor(options) {
    this.options = options;
    this.list = el("ol", { class: "rows" });
    this.start = el("p", { class: "start" });
    this.scroller = el(
      "div",
      { class: "scroller", tabindex: 0, role: "region", "aria-label": options.label },
      this.start,
      this.list,
    );
    this.count = el("span", { class: "badge" });
    this.jump = el("button", { class: "jump", type: "button", hidden: true }, this.count, icon("down"));
    this.element = el("div", { class: "timeline" }, this.scroller, this.jump);
    this.jump.addEventListener("click", () => this.toEnd());
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // A field that grows, a keyboard that opens, a window that is made smaller: the last message stays in sight.
    new ResizeObserver(() => this.#stick && this.toEnd()).observe(this.scroller);
  }

  /** `created_at` of the oldest entry given. */
  get first() {
    return this.#oldest?.created_at;
  }

  get firstSeq() {
    return this.#oldest?.seq ?? Number.POSITIVE_INFINITY;
  }

  get isAtEnd() {
    return this.#stick;
  }

  /** There is room above: rows do not fill the scroller. */
  get hasRoom() {
    return this.scroller.scrollHeight < this.scroller.clientHeight + NEAR_START_PX;
  }

  /** @param {"loading" | "complete" | ""} state What is above the first row. */
  above(state) {
    this.start.dataset.state = state;
    this.start.textContent =
      state === "loading" ? "Loading older messages…" : state === "complete" ? "This is the beginning." : "";
  }

  /** Messages after `seq` are new to the reader. @param {number} seq */
  markNewAfter(seq) {
    this.#newFrom = seq + 1;
  }

  /** Show nothing. */
  clear() {
    this.#rows = [];
    this.#oldest = undefined;
    fill(this.list);
    this.#stick = true;
    this.#countNew(0);
  }

  /** Older entries, oldest first, above the others. @param {readonly Entry[]} entries */
  prepend(entries) {
    const limit = this.firstSeq;
    const older = entries.filter(({ seq }) => seq < limit);
    this.#oldest = older[0] ?? this.#oldest;
    const rows = older.filter((entry) => this.#isNewest(entry, older)).flatMap((entry) => this.#rowOf(entry) ?? []);
    const { scrollHeight, scrollTop } = this.scroller;
    this.list.prepend(...rows.map((row) => row.element));
    this.#rows = [...rows, ...this.#rows];
    for (let index = 0; index <= rows.length; index += 1) this.#place(index);
    this.#showNewLine();
    if (this.#stick) this.toEnd();
    else this.scroller.scrollTop = scrollTop + this.scroller.scrollHeight - scrollHeight;
  }

  /** The next entry of the log. @param {Entry} entry */
  append(entry) {
    const mine = entry.type === "message" && entry.sender === this.options.me;
    const waiting = mine ? this.#rows.findIndex((row) => row.seq === 0 && row.clientId === entry.client_id) : -1;
    this.#oldest ??= entry;
    if (entry.type === "call") this.#dropCall(entry.call);
    const row = waiting < 0 ? this.#rowOf(entry) : this.#take(waiting, /** @type {MessageEntry} */ (entry));
    if (!row) return;
    const firstUnsent = this.#rows.findIndex((each) => each.seq === 0);
    const index = firstUnsent < 0 ? this.#rows.length : firstUnsent;
    this.#insert(row, index);
    if (this.#stick) this.toEnd();
    else if (row.kind === "message" && !mine) this.#countNew(this.#newBelow + 1);
  }

  /** A message is on its way. @param {OutboxItem} item */
  unsent(item) {
    const known = this.#rows.findIndex((row) => row.seq === 0 && row.clientId === item.client_id);
    const row = unsentRow(item, {
      me: this.options.me,
      match: this.options.match(),
      retry: () => this.options.retry(item.client_id),
      discard: () => this.options.discard(item.client_id),
    });
    if (known >= 0) this.#remove(known);
    this.#insert(row, this.#rows.length);
    if (known < 0 || this.#stick) this.toEnd();
  }

  /** A message that was on its way is not any more. @param {string} clientId */
  dropUnsent(clientId) {
    const index = this.#rows.findIndex((row) => row.seq === 0 && row.clientId === clientId);
    if (index < 0) return;
    this.#remove(index);
    this.#place(index);
  }

  /** A message is stored, its entry comes soon. @param {string} clientId */
  stored(clientId) {
    const row = this.#rows.find((each) => each.seq === 0 && each.clientId === clientId);
    if (row) showState(row, "sent");
  }

  /** Receipts moved. */
  refreshTicks() {
    const match = this.options.match();
    for (const row of [...this.#rows].reverse()) {
      if (row.seq === 0 || row.ticks === undefined) continue;
      const ticks = ticksOf(row.seq, match);
      if (row.ticks === "read") return; // so are those above
      if (ticks !== row.ticks) showState(row, ticks);
    }
  }

  /** Show the last row, or where the new ones begin when `preferNew` and they begin above. */
  toEnd(preferNew = false) {
    const line = preferNew ? this.list.querySelector(".new-line") : null;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    if (line && line.getBoundingClientRect().top < this.scroller.getBoundingClientRect().top) line.scrollIntoView();
    this.#scrolled();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.#stick = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (this.#stick) {
      this.#countNew(0);
      this.options.atEnd();
    }
    this.jump.hidden = this.#stick;
    if (scrollTop < NEAR_START_PX) this.options.needOlder();
  }

  /** @param {number} count */
  #countNew(count) {
    this.#newBelow = count;
    this.count.textContent = count ? String(count) : "";
    this.count.hidden = count === 0;
    const label = count ? `${count} new ${count === 1 ? "message" : "messages"}, go to the end` : "Go to the end";
    this.jump.setAttribute("aria-label", label);
    this.jump.title = label;
  }

  /** @param {Entry} entry */
  #rowOf(entry) {
    const { me } = this.options;
    const match = this.options.match();
    if (entry.type === "call") {
      return callRow(entry, { me, group: match.others.length > 1, call: () => this.options.call(entry.media) });
    }
    return entry.type === "message" ? messageRow(entry, { me, match }) : noticeRow(entry, me);
  }

  /** A call has one line, the newest. @param {Entry} entry @param {readonly Entry[]} page */
  #isNewest(entry, page) {
    if (entry.type !== "call") return true;
    const later = page.some((each) => each.type === "call" && each.call === entry.call && each.seq > entry.seq);
    return !later && !this.#rows.some(({ call }) => call === entry.call);
  }

  /** @param {string} call */
  #dropCall(call) {
    const index = this.#rows.findIndex((row) => row.call === call);
    if (index < 0) return;
    this.#remove(index);
    this.#place(index);
  }

  /** @param {number} index @param {MessageEntry} entry */
  #take(index, entry) {
    const row = /** @type {Row} */ (this.#rows[index]);
    this.#rows.splice(index, 1);
    return settle(row, entry, ticksOf(entry.seq, this.options.match()));
  }

  /** @param {Row} row @param {number} index */
  #insert(row, index) {
    const next = this.#rows[index]?.element ?? null;
    // Moving an element that is in place already would restart its animation.
    if (row.element.parentNode !== this.list || row.element.nextElementSibling !== next)
      this.list.insertBefore(row.element, next);
    this.#rows.splice(index, 0, row);
    this.#place(index);
    this.#place(index + 1);
  }

  /** @param {number} index */
  #remove(index) {
    this.#rows[index]?.element.remove();
    this.#rows.splice(index, 1);
  }

  /** @param {number} index */
  #place(index) {
    const row = this.#rows[index];
    if (row) place(row, this.#rows[index - 1]);
  }

  #showNewLine() {
    // Older pages may bring earlier new ones: the line moves up to them.
    this.list.querySelector(".new-line")?.remove();
    const row = this.#rows.find((each) => each.seq >= this.#newFrom && each.kind === "message");
    row?.day.after(el("p", { class: "new-line" }, "New messages"));
  }
}
