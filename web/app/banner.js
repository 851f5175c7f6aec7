/** The line at the top that says when the connection is gone, and when it will be tried again. */

/** @import { Duologue, Status } from "../duologue.js" */

import { el, fill } from "./dom.js";

const REPLACED = 4500;
const TOKEN_INVALID = 4501;

/**
 * @param {Duologue} chat
 * @param {(why: string) => void} signOut
 */
export function connectionBanner(chat, signOut) {
  const text = el("span", {});
  const button = el("button", { type: "button" });
  const banner = el(
    "div",
    { class: "banner", role: "status", hidden: true },
    el("span", { class: "pulse" }),
    text,
    button,
  );
  let press = () => {};
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let ticking;
  let wasOnline = false;

  button.addEventListener("click", () => press());
  chat.on("status", show);
  show(chat.status);
  return banner;

  /** @param {Status} status */
  function show(status) {
    clearInterval(ticking);
    if (status.state === "online") wasOnline = true;
    // The very first connect needs no words, unless it fails; later ones keep the banner that is there.
    banner.hidden = status.state === "online" || (status.state === "connecting" && (banner.hidden || !wasOnline));
    banner.dataset.state = status.state;
    button.hidden = status.state === "connecting";
    if (status.state === "connecting") fill(text, "Connecting…");
    if (status.state === "closed") showClosed(status);
    if (status.state !== "offline") return;
    press = () => chat.connect();
    fill(button, "Try now");
    count(status);
    ticking = setInterval(() => count(status), 500);
  }

  /** @param {Status} status */
  function count({ retry_at_ms = 0 }) {
    const seconds = Math.max(0, Math.ceil((retry_at_ms - Date.now()) / 1000));
    const next = seconds > 0 ? `trying again in ${seconds} s` : "trying again…";
    const said = `No connection, ${next}`;
    if (text.textContent !== said) fill(text, said);
  }

  /** @param {Status} status */
  function showClosed({ code, reason }) {
    banner.hidden = code === undefined && reason === undefined;
    if (code === TOKEN_INVALID) {
      fill(text, "Your session has ended.");
      fill(button, "Sign in again");
      press = () => signOut("Your session has ended.");
    } else {
      fill(
        text,
        code === REPLACED ? "This conversation was continued in another tab." : `Disconnected: ${reason || code}`,
      );
      fill(button, code === REPLACED ? "Use it here" : "Connect");
      press = () => chat.connect();
    }
  }
}
