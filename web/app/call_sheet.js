/** The sheet that comes down when somebody calls: who, and the ways to answer. */

/** @import { Incoming, MatchView } from "../duologue.js" */

import { el, icon } from "./dom.js";
import { avatar, titleOf } from "./people.js";
import { ringAlone } from "./ring.js";

/**
 * @typedef {object} Answers
 * @property {(video: boolean) => void} accept
 * @property {() => void} decline
 * @property {() => void} ignore
 */

/**
 * @param {Incoming} incoming
 * @param {MatchView | undefined} match
 * @param {Answers} answers
 */
export function callSheet(incoming, match, { accept, decline, ignore }) {
  const video = incoming.media === "video";
  const group = (match?.others.length ?? 1) > 1;
  const kind = video ? "Video call" : "Voice call";
  const where = group && match ? `${kind} in ${titleOf(match)}` : `${kind} for you`;
  const name = el("h2", { id: `calls-${incoming.call}` }, `${incoming.caller} is calling`);
  const more = incoming.in_call ? "Answering ends the call you are in." : where;
  const buttons = [
    answer("hangup", "Decline", "decline", decline),
    answer("phone", video ? "Without video" : "Accept", video ? "accept plain" : "accept", () => accept(false)),
    video && answer("camera", "Accept with video", "accept", () => accept(true)),
  ];
  const silence = el("button", { class: "silence", type: "button" }, "Ignore");
  silence.addEventListener("click", ignore);
  const element = el(
    "section",
    {
      class: "call-sheet",
      role: "alertdialog",
      "aria-labelledby": name.id,
      "aria-describedby": `${name.id}-more`,
      tabindex: -1,
    },
    el("span", { class: "calling" }, avatar([incoming.caller])),
    el("div", { class: "who" }, name, el("p", { id: `${name.id}-more` }, more)),
    silence,
    el("div", { class: "answers" }, ...buttons),
  );
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    ignore();
  });
  const stop = ringAlone("incoming");
  // Somebody who writes goes on writing; the others have the answers under their fingers.
  queueMicrotask(() => {
    const at = document.activeElement;
    const writes = at instanceof HTMLTextAreaElement || at instanceof HTMLInputElement;
    if (!writes && element.isConnected) element.focus();
  });
  return {
    element,
    close: () => {
      stop();
      element.remove();
    },
  };
}

/** @param {import("./dom.js").IconName} name @param {string} label @param {string} kind @param {() => void} press */
function answer(name, label, kind, press) {
  const button = el("button", { class: `answer ${kind}`, type: "button" }, icon(name), el("span", {}, label));
  button.addEventListener("click", press, { once: true });
  return button;
}
