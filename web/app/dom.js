/** Elements made by hand: text is always text, styles are always classes, so that the page needs no trust in any string. */

/** @typedef {Record<string, string | number | boolean | undefined>} Attributes `true` sets an empty attribute, `false` and undefined none. */
/** @typedef {Node | string | undefined | null | false} Child */

/**
 * Make an element with attributes and children; strings become text.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  fill(element, ...children);
  return element;
}

/**
 * @param {Element} element
 * @param {Attributes} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * Replace what is in `element`.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== undefined && child !== null && child !== false));
}

/** Button with an icon only; `label` is what it is called. @param {IconName} name @param {string} label @param {() => void} press */
export function iconButton(name, label, press) {
  const button = el("button", { class: "icon-button", type: "button", "aria-label": label, title: label }, icon(name));
  button.addEventListener("click", press);
  return button;
}

const SVG = "http://www.w3.org/2000/svg";

/** Strokes on a grid of 24. */
const ICONS = Object.freeze({
  add: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  clock: "M12 7v5l3 2M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
  close: "M6 6l12 12M18 6L6 18",
  delivered: "M2 13l4.5 4.5L16 8M11 16l1.5 1.5L22 8",
  down: "M12 5v14M6 13l6 6 6-6",
  failed: "M12 8v5M12 16.5v.01M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
  leave: "M15 4h3a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2h-3M10 8l-4 4 4 4M6 12h9",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
  send: "M4 12l16-8-6 16-3-6z",
  sent: "M5 13l4.5 4.5L19 8",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  system: "M3 5h18v11H3zM8 20h8M12 16v4",
});
/** @typedef {keyof typeof ICONS} IconName */

/**
 * A drawn icon; without `label` it is decoration.
 * @param {IconName} name
 * @param {string} [label]
 */
export function icon(name, label) {
  const svg = document.createElementNS(SVG, "svg");
  set(svg, { class: `icon icon-${name}`, viewBox: "0 0 24 24" });
  set(svg, label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" });
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const LINK = /https?:\/\/[^\s<>"']+/g;

/**
 * Text with its web addresses as links.
 * @param {string} text
 * @returns {(string | HTMLElement)[]}
 */
export function linked(text) {
  /** @type {(string | HTMLElement)[]} */
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(LINK)) {
    const address = found[0].replace(/[.,;:!?)\]}]+$/, "");
    if (!URL.canParse(address)) continue;
    parts.push(text.slice(end, found.index));
    parts.push(el("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, address));
    end = found.index + address.length;
  }
  return [...parts, text.slice(end)].filter((part) => part !== "");
}
