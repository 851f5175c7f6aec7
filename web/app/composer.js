/** The field at the bottom: Enter sends, Shift+Enter begins a new line, and it grows with what is written. */

import { el, icon, set } from "./dom.js";

// What the server refuses in text: control characters other than tab and line ends.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones to take out
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

/** Unfinished messages of conversations that were left. @type {Map<string, string>} */
const drafts = new Map();

/**
 * @param {object} options
 * @param {string} options.match
 * @param {string} options.label Name of the field for those who cannot see where it is.
 * @param {number} options.maxChars
 * @param {(text: string) => void} options.send
 * @param {() => void} options.typing
 * @param {() => void} options.emptied
 */
export function composer({ match, label, maxChars, send, typing, emptied }) {
  const field = el("textarea", {
    rows: 1,
    maxlength: maxChars,
    placeholder: "Write a message",
    "aria-label": label,
    enterkeyhint: "send",
    autocomplete: "off",
  });
  const button = el("button", { class: "send", type: "submit", "aria-label": "Send" }, icon("send"));
  const form = el("form", { class: "composer" }, field, button);

  const changed = () => {
    set(button, { disabled: !field.value.trim() });
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    if (field.value) drafts.set(match, field.value);
    else drafts.delete(match);
  };
  const submit = () => {
    const text = field.value.replace(CONTROLS, "").trim();
    if (!text) return;
    field.value = "";
    changed();
    send(text);
    field.focus();
  };
  field.addEventListener("input", () => {
    changed();
    if (field.value.trim()) typing();
    else emptied();
  });
  field.addEventListener("keydown", (event) => {
    // Enter that ends the choice of a word in an input method is not ours.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  field.value = drafts.get(match) ?? "";
  queueMicrotask(changed);
  return { form, field };
}
