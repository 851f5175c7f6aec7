/** The dialog that starts a match. */

import { inWords } from "./ask.js";
import { openDialog } from "./dialog.js";
import { el } from "./dom.js";

/**
 * Ask with whom; `start` makes the match.
 * @param {(names: string[]) => Promise<void>} start
 * @param {number} most Members that a match may have, this user too.
 */
export function openNewMatch(start, most) {
  const field = el("input", {
    id: "with-whom",
    type: "text",
    maxlength: 1000,
    autocomplete: "off",
    placeholder: "Name, or several with commas",
    required: true,
    spellcheck: "false",
    "aria-describedby": "with-whom-hint",
  });
  const problem = el("p", { class: "problem", role: "alert" });
  const submit = el("button", { class: "primary", type: "submit" }, "Start chatting");
  const form = el(
    "form",
    {},
    el("label", { for: "with-whom" }, "Who would you like to chat with?"),
    field,
    el("p", { class: "hint", id: "with-whom-hint" }, "Separate several names by commas to start a group."),
    problem,
    submit,
  );
  const dialog = openDialog({ id: "new-match", title: "New match", content: [form] });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const names = [
      ...new Set(
        field.value
          .normalize("NFC")
          .split(",")
          .map((name) => name.trim()),
      ),
    ].filter(Boolean);
    problem.textContent = complaint(names, most);
    if (problem.textContent) return;
    submit.disabled = true;
    try {
      await start(names);
      dialog.close();
    } catch (error) {
      problem.textContent = inWords(error);
      submit.disabled = false;
    }
  });
  field.focus();
}

/**
 * @param {string[]} names
 * @param {number} most
 */
function complaint(names, most) {
  if (!names.length) return "Please type a name.";
  if (names.length >= most) return `At most ${most - 1} names.`;
  return names.some((name) => name.length > 64) ? "A name has at most 64 characters." : "";
}
