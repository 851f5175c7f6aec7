/** What is shown when a call is over: why, how long it was, how it was, and calling again. */

/** @import { Call, CallEnd } from "../duologue.js" */

import { endTitle } from "./call_words.js";
import { el, iconButton, set } from "./dom.js";
import { avatar } from "./people.js";

/**
 * @typedef {object} EndOptions
 * @property {string} length How long it was; "" when it never came about.
 * @property {string[]} people With whom.
 * @property {() => void} again
 * @property {() => void} close
 */

/** @param {Call} call @param {CallEnd} end @param {EndOptions} options */
export function endCard(call, end, { length, people, again, close }) {
  const callAgain = el("button", { class: "primary", type: "button" }, "Call again");
  const leave = el("button", { class: "plain", type: "button" }, "Close");
  callAgain.addEventListener("click", again);
  leave.addEventListener("click", close);
  const element = el(
    "div",
    { class: "ended", role: "status" },
    avatar(people),
    el("h2", {}, endTitle(end)),
    el("p", { class: "length" }, length),
    length !== "" && stars((rating) => void call.feedback(rating).catch(() => {})),
    el("div", { class: "choices" }, callAgain, leave),
  );
  return { element, focus: () => leave.focus() };
}

/** @param {(rating: 1 | 2 | 3 | 4 | 5) => void} rated */
function stars(rated) {
  const group = el("div", { class: "stars", role: "group", "aria-label": "How was it?" });
  let isRated = false;
  for (const rating of /** @type {const} */ ([1, 2, 3, 4, 5])) {
    const button = iconButton("star", rating === 1 ? "1 star" : `${rating} stars`, () => {
      if (isRated) return;
      isRated = true;
      rated(rating);
      for (const each of group.children) set(each, { "aria-disabled": "true" }); // which keeps the focus where it is
      for (const each of [...group.children].slice(0, rating)) set(each, { "data-on": true });
      set(button, { "aria-pressed": "true" });
    });
    set(button, { "aria-pressed": "false" });
    group.append(button);
  }
  return group;
}
