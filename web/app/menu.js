/** A button that opens a short list of things to do: arrow keys go through it, Escape and a press elsewhere close it. */

/** @import { IconName } from "./dom.js" */

import { el, fill, icon, iconButton, set } from "./dom.js";

/**
 * @typedef {object} MenuItem
 * @property {string} label
 * @property {string} [hint] A second line that explains.
 * @property {IconName} icon
 * @property {boolean} [checked] Of what is on or off.
 * @property {boolean} [grave] Not to be done by mistake.
 * @property {() => void} press
 */

/**
 * @param {string} label
 * @param {() => MenuItem[]} items Asked each time it opens.
 */
export function menuButton(label, items) {
  const button = iconButton("more", label, () => (list.hidden ? open() : close()));
  const list = el("div", { class: "menu", role: "menu", "aria-label": label, hidden: true });
  const place = el("div", { class: "menu-place" }, button, list);
  set(button, { "aria-haspopup": "menu", "aria-expanded": "false" });
  let listening = new AbortController();

  const open = () => {
    fill(list, ...items().map((item) => row(item, close)));
    list.hidden = false;
    set(button, { "aria-expanded": "true" });
    listening = new AbortController();
    const outside = (/** @type {Event} */ { target }) => target instanceof Node && !place.contains(target) && close();
    document.addEventListener("pointerdown", outside, { signal: listening.signal });
    document.addEventListener("focusin", outside, { signal: listening.signal });
    focusOn(0);
  };
  const close = () => {
    listening.abort();
    if (list.contains(document.activeElement)) button.focus();
    list.hidden = true;
    set(button, { "aria-expanded": "false" });
  };
  const focusOn = (/** @type {number} */ index) => {
    const buttons = [...list.querySelectorAll("button")];
    buttons.at(index % buttons.length)?.focus();
  };
  place.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const at = [...list.querySelectorAll("button")].indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    if (event.key === "ArrowDown") focusOn(at + 1);
    else if (event.key === "ArrowUp") focusOn(at - 1);
    else if (event.key === "Home") focusOn(0);
    else if (event.key === "End") focusOn(-1);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return place;
}

/** @param {MenuItem} item @param {() => void} close */
function row({ label, hint, icon: picture, checked, grave, press }, close) {
  const kind = checked === undefined ? "menuitem" : "menuitemcheckbox";
  const button = el(
    "button",
    { type: "button", role: kind, tabindex: -1, "aria-checked": checked === undefined ? undefined : String(checked) },
    icon(picture),
    el("span", { class: "what" }, el("span", {}, label), hint && el("span", { class: "why" }, hint)),
    checked !== undefined && el("span", { class: "switch", "aria-hidden": "true" }),
  );
  button.classList.toggle("grave", grave === true);
  button.addEventListener("click", () => {
    close();
    press();
  });
  return button;
}
