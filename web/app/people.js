/** How people and matches are called and pictured. */

/** @import { Duologue, MatchView } from "../duologue.js" */

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
  const dot = status !== undefined && el("span", { class: "dot", "data-status": status });
  return el("span", { class: names.length > 1 ? "avatar group" : "avatar", "aria-hidden": "true" }, ...faces, dot);
}

/** What a match is called. @param {MatchView} match */
export function titleOf(match) {
  if (!match.others.length) return "Only you";
  return match.others.join(", ");
}

/** Online if anyone else is. @param {Duologue} chat @param {MatchView} match */
export function statusOf(chat, match) {
  const all = match.others.map((user) => chat.presence(user).status);
  return all.find((status) => status === "online") ?? all.find((status) => status === "offline") ?? "unknown";
}

/**
 * A line about who is there or writing.
 * @param {Duologue} chat
 * @param {MatchView} match
 * @param {(micros: number) => string} ago
 */
export function presenceLine(chat, match, ago) {
  if (match.others.length > 1) {
    const online = match.others.filter((user) => chat.presence(user).status === "online").length;
    return `${match.members.length} people${online ? `, ${online} online` : ""}`;
  }
  const { status, last_seen } = chat.presence(match.others[0] ?? "");
  if (status === "online") return "Online";
  if (status === "unknown") return "";
  return last_seen ? `Last seen ${ago(last_seen)}` : "Offline";
}

/** @param {string[]} users */
export function typingLine(users) {
  if (users.length === 1) return `${users[0]} is typing…`;
  return users.length ? `${users.slice(0, 3).join(", ")} are typing…` : "";
}
