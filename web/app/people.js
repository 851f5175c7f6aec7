/** How people and matches are called and pictured. */

/** @import { Duologue, MatchView, Presence } from "../duologue.js" */

import { el } from "./dom.js";

const TONES = 12;

/** Up to two letters for an avatar. @param {string} name */
export function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0] ?? "?"];
  return letters
    .map((word) => [...(word ?? "")][0] ?? "")
    .join("")
    .toLocaleUpperCase();
}

/** The same name has the same colour, everywhere. @param {string} name */
function tone(name) {
  let hash = 2_166_136_261;
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16_777_619);
  return (hash >>> 0) % TONES;
}

/**
 * A round picture: initials, one or (for a group) two, with a presence dot where `status` is given.
 * @param {string[]} names
 * @param {string} [status]
 */
export function avatar(names, status) {
  const shown = names.length > 1 ? names.slice(0, 2) : [names[0] ?? "?"];
  const faces = shown.map((name) => el("span", { class: `face tone-${tone(name)}` }, initials(name)));
  const corner = status !== undefined && dot(status);
  return el("span", { class: names.length > 1 ? "avatar group" : "avatar", "aria-hidden": "true" }, ...faces, corner);
}

/** The sign of a status: colours differ, and so do shapes. @param {string} status */
export function dot(status) {
  return el("span", { class: "dot", "data-status": status, "aria-hidden": "true" });
}

/** What a match is called. @param {MatchView} match */
export function titleOf(match) {
  if (!match.others.length) return "Only you";
  return match.others.join(", ");
}

/** @typedef {Presence["status"]} PresenceStatus */

/** Of several people the first of these that one of them is. @type {PresenceStatus[]} */
const MOST_TELLING = ["online", "away", "dnd", "offline"];

const WORDS = /** @type {Record<PresenceStatus, string>} */ ({
  online: "Online",
  away: "Away",
  dnd: "Do not disturb",
  offline: "Offline",
  unknown: "",
});

/** How the others are, in one word. @param {Duologue} chat @param {MatchView} match @returns {PresenceStatus} */
export function statusOf(chat, match) {
  const all = match.others.map((user) => chat.presence(user).status);
  return MOST_TELLING.find((status) => all.includes(status)) ?? "unknown";
}

/** The one other, whom this user has blocked; a group goes on. @param {Duologue} chat @param {MatchView} match */
export function blockedIn(chat, match) {
  const [other] = match.others;
  return match.others.length === 1 && other !== undefined && chat.blocked.has(other) ? other : undefined;
}

/**
 * A line about who is there and how.
 * @param {Duologue} chat
 * @param {MatchView} match
 * @param {(micros: number) => string} ago
 */
export function presenceLine(chat, match, ago) {
  if (match.others.length > 1) {
    const here = match.others.filter((user) => isHere(chat.presence(user))).length;
    const blocked = match.others.filter((user) => chat.blocked.has(user)).length;
    return [`${match.members.length} people`, here && `${here} online`, blocked && `${blocked} blocked`]
      .filter(Boolean)
      .join(", ");
  }
  if (blockedIn(chat, match) !== undefined) return "Blocked";
  return howIs(chat.presence(match.others[0] ?? ""), ago);
}

/**
 * "Do not disturb · In an exam", "Last seen 5 minutes ago", or nothing where nobody can tell.
 * @param {Presence} presence
 * @param {(micros: number) => string} ago
 */
function howIs({ status, text, last_seen }, ago) {
  if (status === "offline" && last_seen !== undefined) return `Last seen ${ago(last_seen)}`;
  return [WORDS[status], text].filter(Boolean).join(" · ");
}

/**
 * As much of that as is news beside the dot in the list: their own words, or when they were here.
 * @param {Duologue} chat
 * @param {MatchView} match
 * @param {(micros: number) => string} ago
 */
export function mood(chat, match, ago) {
  if (match.others.length !== 1) return "";
  const { status, text, last_seen } = chat.presence(match.others[0] ?? "");
  if (status === "offline") return last_seen === undefined ? "" : `seen ${ago(last_seen)}`;
  return text ?? "";
}

/** @param {Presence} presence */
function isHere({ status }) {
  return status === "online" || status === "away" || status === "dnd";
}

/** Who writes, and who records. @param {string[]} users @param {string[]} recording */
export function typingLine(users, recording) {
  if (users.length === 1) return `${users[0]} is ${recording.length ? "recording" : "typing"}…`;
  return users.length ? `${users.slice(0, 3).join(", ")} are typing…` : "";
}
