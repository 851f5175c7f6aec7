/** One line of a conversation: a message with its state, or a sentence about who came and went. */

/** @import { Body, CallEntry, Entry, MatchView, MessageEntry, OutboxItem } from "../duologue.js" */
/** @import { IconName } from "./dom.js" */

import { callTitle } from "./call_words.js";
import { el, fill, icon, linked } from "./dom.js";
import { avatar } from "./people.js";
import { dayOf, fullTimeOf, sameDay, timeOf } from "./times.js";

/** @typedef {"waiting" | "sent" | "delivered" | "read" | "failed"} Ticks */
/**
 * @typedef {object} Row
 * @property {HTMLLIElement} element
 * @property {"message" | "notice" | "call-line"} kind
 * @property {string} call The call that it is about.
 * @property {string} sender
 * @property {number} at Microseconds.
 * @property {number} seq 0 while unsent.
 * @property {string} clientId
 * @property {Ticks | undefined} ticks Of own messages.
 * @property {HTMLElement} day
 * @property {HTMLElement} state
 */

/** Messages of one sender closer than this hang together. */
const GROUP_US = 5 * 60 * 1_000_000;

/** Nothing but a few pictures is shown large. */
const PICTURES_ONLY = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\u200d|\ufe0f|\s){1,12}$/u;

const TICKS = /** @type {Record<Ticks, {name: IconName, label: string}>} */ ({
  waiting: { name: "clock", label: "Waiting to be sent" },
  sent: { name: "sent", label: "Sent" },
  delivered: { name: "delivered", label: "Delivered" },
  read: { name: "delivered", label: "Read" },
  failed: { name: "failed", label: "Not sent" },
});

const REASONS = /** @type {Record<string, string>} */ ({
  refused: "This message cannot be delivered.",
  not_member: "You are no longer in this match.",
  too_large: "The message is too long.",
  expired: "It could not be sent for 30 days.",
});

/**
 * A row for a message of the log.
 * @param {MessageEntry} entry
 * @param {{me: string, match: MatchView}} where
 */
export function messageRow(entry, { me, match }) {
  const mine = entry.sender === me;
  const row = bubble(entry.body, { sender: entry.sender, mine, group: match.others.length > 1 });
  row.clientId = entry.client_id;
  return settle(row, entry, mine ? ticksOf(entry.seq, match) : undefined);
}

/**
 * The message of `row` is in the log now.
 * @param {Row} row
 * @param {MessageEntry} entry
 * @param {Ticks | undefined} ticks
 */
export function settle(row, entry, ticks) {
  row.seq = entry.seq;
  row.at = entry.created_at;
  row.element.dataset.seq = String(entry.seq);
  row.element.querySelector(".trouble")?.remove();
  showState(row, ticks);
  return row;
}

/**
 * A row for a message on its way.
 * @param {OutboxItem} item
 * @param {{me: string, match: MatchView, retry: () => void, discard: () => void}} how
 */
export function unsentRow(item, { me, match, retry, discard }) {
  const row = bubble(item.body, { sender: me, mine: true, group: match.others.length > 1 });
  row.clientId = item.client_id;
  row.at = item.created_ms * 1000;
  showState(row, item.state === "failed" ? "failed" : "waiting");
  if (item.state !== "failed") return row;
  const again = el("button", { type: "button" }, "Try again");
  const away = el("button", { type: "button" }, "Discard");
  again.addEventListener("click", retry);
  away.addEventListener("click", discard);
  const why = REASONS[item.error ?? ""] ?? "Not sent.";
  row.element.append(el("p", { class: "trouble" }, why, again, away));
  return row;
}

/**
 * A sentence about members, or undefined for entries that are not shown: a `skip` has no line, because who blocked somebody
 * does not want to be reminded with every message, and nobody can tell what it stands for.
 * @param {Entry} entry
 * @param {string} me
 */
export function noticeRow(entry, me) {
  if (entry.type !== "members") return undefined;
  const names = (/** @type {string[]} */ users) => {
    const called = users
      .map((user) => (user === me ? "you" : user))
      .sort((a, b) => Number(b === "you") - Number(a === "you"));
    const all = new Intl.ListFormat("en").format(called);
    return all.charAt(0).toLocaleUpperCase() + all.slice(1);
  };
  const parts = [
    entry.seq === 1 && `${names(entry.joined)} were matched`,
    entry.seq > 1 && entry.joined.length > 0 && `${names(entry.joined)} joined`,
    entry.left.length > 0 && `${names(entry.left)} left`,
  ].filter((part) => part !== false);
  const row = makeRow("notice", "");
  row.seq = entry.seq;
  row.at = entry.created_at;
  row.element.append(el("p", { class: "notice" }, parts.join(", ")));
  return row;
}

/**
 * A call as it stands, with a way to call again.
 * @param {CallEntry} entry
 * @param {{me: string, group: boolean, call: () => void}} how
 */
export function callRow(entry, { me, group, call }) {
  const { state, caller, media } = entry;
  const mine = caller === me;
  const lost = !["completed", "ongoing", "ringing"].includes(state);
  const live = state === "ongoing" || state === "ringing";
  const row = makeRow("call-line", caller);
  row.call = entry.call;
  row.seq = entry.seq;
  row.at = entry.created_at;
  row.element.dataset.seq = String(entry.seq);
  row.element.classList.add(mine ? "mine" : "theirs");
  const button = el("button", { type: "button" }, live ? "Open call" : mine ? "Call again" : "Call back");
  button.addEventListener("click", call);
  const title = callTitle(entry, me);
  row.element.append(
    el(
      "div",
      { class: "bubble call-entry", "data-lost": lost && !mine },
      el("span", { class: "sign" }, icon(media === "video" ? "camera" : "phone")),
      el("p", { class: "text" }, group && !mine ? `${caller}: ${title}` : title),
      row.state,
      button,
    ),
  );
  showState(row, undefined);
  return row;
}

/** How far a message of mine has come. @param {number} seq @param {MatchView} match @returns {Ticks} */
export function ticksOf(seq, match) {
  if (match.read_by_all >= seq) return "read";
  return match.delivered_to_all >= seq ? "delivered" : "sent";
}

/** Show time and ticks. @param {Row} row @param {Ticks | undefined} ticks */
export function showState(row, ticks) {
  row.ticks = ticks;
  row.element.dataset.state = ticks ?? "";
  const { name, label } = TICKS[ticks ?? "sent"];
  const time = el(
    "time",
    { datetime: new Date(row.at / 1000).toISOString(), title: fullTimeOf(row.at) },
    timeOf(row.at),
  );
  fill(row.state, time, ticks && icon(name, label));
}

/**
 * What depends on the row above: the day, and whether both are one group.
 * @param {Row} row
 * @param {Row | undefined} above
 */
export function place(row, above) {
  const newDay = !above || !sameDay(above.at, row.at);
  row.day.hidden = !newDay;
  if (newDay) row.day.textContent = dayOf(row.at);
  const grouped = !newDay && above.kind === "message" && above.sender === row.sender && row.at - above.at < GROUP_US;
  row.element.classList.toggle("grouped", row.kind === "message" && grouped);
}

/**
 * @param {Body} body
 * @param {{sender: string, mine: boolean, group: boolean}} how
 */
function bubble(body, { sender, mine, group }) {
  const row = makeRow("message", sender);
  const text = body.text ?? "";
  row.element.classList.add(mine ? "mine" : "theirs");
  if (group) row.element.classList.add("in-group");
  const said = el("p", { class: PICTURES_ONLY.test(text) ? "text large" : "text", dir: "auto" }, ...linked(text));
  if (!text) said.textContent = "(sent by an app, without text)";
  const who = el("span", { class: mine || !group ? "sr-only" : "sender" }, mine ? "You" : sender);
  row.element.append(!mine && group ? avatar([sender]) : "", el("div", { class: "bubble" }, who, said, row.state));
  return row;
}

/**
 * @param {Row["kind"]} kind
 * @param {string} sender
 * @returns {Row}
 */
function makeRow(kind, sender) {
  const day = el("p", { class: "day", hidden: true });
  const element = el("li", { class: `row ${kind}` }, day);
  const state = el("span", { class: "state" });
  return { element, kind, call: "", sender, at: 0, seq: 0, clientId: "", ticks: undefined, day, state };
}
