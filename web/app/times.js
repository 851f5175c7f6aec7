/** Times as people say them, in the reader's language. `micros` are microseconds since 1970, as in the protocol. */

const DAY_MS = 86_400_000;
const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const longDate = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** Days from that time's day to today, by the local calendar. @param {number} micros */
function daysAgo(micros) {
  const midnight = (/** @type {Date} */ day) => Date.UTC(day.getFullYear(), day.getMonth(), day.getDate());
  return Math.round((midnight(new Date()) - midnight(new Date(micros / 1000))) / DAY_MS);
}

/** 14:05 @param {number} micros */
export function timeOf(micros) {
  return clock.format(micros / 1000);
}

/** Everything, for a tooltip. @param {number} micros */
export function fullTimeOf(micros) {
  return full.format(micros / 1000);
}

/** For a list: the time today, else the day. @param {number} micros */
export function shortTimeOf(micros) {
  const days = daysAgo(micros);
  if (days <= 0) return timeOf(micros);
  if (days === 1) return "Yesterday";
  return days < 7 ? weekday.format(micros / 1000) : date.format(micros / 1000);
}

/** For the line between two days. @param {number} micros */
export function dayOf(micros) {
  const days = daysAgo(micros);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days < 180 ? longDate.format(micros / 1000) : date.format(micros / 1000);
}

/** The same local day? @param {number} a @param {number} b */
export function sameDay(a, b) {
  return new Date(a / 1000).toDateString() === new Date(b / 1000).toDateString();
}

/** "5 minutes ago" @param {number} micros */
export function ago(micros) {
  const minutes = Math.floor((Date.now() - micros / 1000) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return relative.format(-minutes, "minute");
  if (minutes < 24 * 60) return relative.format(-Math.floor(minutes / 60), "hour");
  return relative.format(-daysAgo(micros), "day");
}
