/** What all dialogs have in common: they cover the page, Escape and a press beside them close them, and closed they are gone. */

/** @import { Child } from "./dom.js" */

import { el, iconButton } from "./dom.js";

/**
 * Open a dialog with a heading and a button that closes it.
 * @param {object} dialog
 * @param {string} dialog.id Of the heading.
 * @param {string} dialog.title
 * @param {string} [dialog.kind] A class for its looks.
 * @param {Child[]} dialog.content
 */
export function openDialog({ id, title, kind = "", content }) {
  const close = iconButton("close", "Close", () => dialog.close());
  const dialog = openCard(id, kind, el("header", {}, el("h2", { id }, title), close), ...content);
  return dialog;
}

/**
 * Open a dialog that is left by its own buttons; one of its children is the heading with this id.
 * @param {string} id
 * @param {string} kind
 * @param {...Child} content
 */
export function openCard(id, kind, ...content) {
  const dialog = el("dialog", { class: `card ${kind}`.trim(), "aria-labelledby": id }, ...content);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
