/** Small dialogs: a question before something grave, and what to say when something could not be done. */

import { DuologueError } from "../duologue.js";
import { openCard } from "./dialog.js";
import { el } from "./dom.js";

/**
 * Ask, and do it on yes; the dialog stays, with what went wrong, until it is done or given up.
 * @param {object} question
 * @param {string} question.title
 * @param {string[]} question.text Paragraphs.
 * @param {string} question.yes What the button says.
 * @param {() => Promise<void>} question.act
 */
export function ask({ title, text, yes, act }) {
  const problem = el("p", { class: "problem", role: "alert" });
  const no = el("button", { class: "secondary", type: "button" }, "Cancel");
  const sure = el("button", { class: "primary grave", type: "submit" }, yes);
  const form = el(
    "form",
    {},
    ...text.map((each) => el("p", {}, each)),
    problem,
    el("div", { class: "answers" }, no, sure),
  );
  const dialog = show(title, form);
  no.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    sure.disabled = true;
    try {
      await act();
      dialog.close();
    } catch (error) {
      problem.textContent = inWords(error);
      sure.disabled = false;
    }
  });
  no.focus(); // Enter by mistake does nothing grave
}

/** Say that something could not be done. @param {string} title @param {unknown} error */
export function tell(title, error) {
  const fine = el("button", { class: "primary", type: "submit" }, "OK");
  const form = el("form", { method: "dialog" }, el("p", {}, inWords(error)), fine);
  show(title, form);
  fine.focus();
}

/** @param {unknown} error */
export function inWords(error) {
  if (!(error instanceof DuologueError)) return error instanceof Error ? error.message : String(error);
  if (error.code === "offline" || error.code === "timeout") return "There is no connection. Try again in a moment.";
  if (error.code === "unknown_type") return "This server cannot do that.";
  return error.message;
}

/** @param {string} title @param {HTMLElement} content */
function show(title, content) {
  return openCard("ask", "ask", el("h2", { id: "ask" }, title), content);
}
