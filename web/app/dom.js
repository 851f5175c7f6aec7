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
  block: "M5.6 5.6l12.8 12.8M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
  camera:
    "M3 7.5A1.5 1.5 0 0 1 4.5 6h9A1.5 1.5 0 0 1 15 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16.5zM15 10.5l6-3.5v10l-6-3.5",
  "camera-off":
    "M3 7.5A1.5 1.5 0 0 1 4.5 6M8.5 6h5A1.5 1.5 0 0 1 15 7.5v5M15 10.5l6-3.5v10l-4-2.3M14.6 17.5A1.5 1.5 0 0 1 13.5 18h-9A1.5 1.5 0 0 1 3 16.5v-9M3 3l18 18",
  delivered: "M2 13l4.5 4.5L16 8M11 16l1.5 1.5L22 8",
  down: "M12 5v14M6 13l6 6 6-6",
  failed: "M12 8v5M12 16.5v.01M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
  hangup:
    "M3.6 14.8c-.9-.9-.9-2.2.1-3.1C6 9.6 8.9 8.5 12 8.5s6 1.1 8.3 3.2c1 .9 1 2.2.1 3.1l-1.1 1.1c-.6.6-1.5.6-2.1.1l-1.9-1.5c-.5-.4-.7-1-.6-1.6l.2-1.1a10 10 0 0 0-5.8 0l.2 1.1c.1.6-.1 1.2-.6 1.6l-1.9 1.5c-.6.5-1.5.5-2.1-.1z",
  headset:
    "M4 14v-2a8 8 0 0 1 16 0v2M4 14.5A1.5 1.5 0 0 1 5.5 13H7v6H5.5A1.5 1.5 0 0 1 4 17.5zM20 14.5a1.5 1.5 0 0 0-1.5-1.5H17v6h1.5a1.5 1.5 0 0 0 1.5-1.5zM20 18c0 2-1.5 3-4 3h-2",
  invite: "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM3 20c.5-3.5 3.3-5.5 7-5.5s6.5 2 7 5.5M19 8v6M16 11h6",
  leave: "M15 4h3a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2h-3M10 8l-4 4 4 4M6 12h9",
  mic: "M12 3.5a3 3 0 0 0-3 3V12a3 3 0 0 0 6 0V6.5a3 3 0 0 0-3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3M9 21h6",
  "mic-off":
    "M9 9v3a3 3 0 0 0 4.8 2.4M15 11V6.5a3 3 0 0 0-5.7-1.3M5.5 11.5a6.5 6.5 0 0 0 10.3 5.3M18 13.8c.3-.7.5-1.5.5-2.3M12 18v3M9 21h6M3 3l18 18",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
  phone:
    "M5 4h3.2l1.8 4.5-2.2 1.5a12 12 0 0 0 6.2 6.2l1.5-2.2L20 15.8V19a1.5 1.5 0 0 1-1.5 1.5C10.5 20.5 3.5 13.5 3.5 5.5A1.5 1.5 0 0 1 5 4z",
  private:
    "M4 4l16 16M9.9 5.3A9 9 0 0 1 12 5c4.7 0 8 4 9.3 7a14 14 0 0 1-2.6 3.6M6.5 6.7C4.6 8 3.3 10 2.7 12c1.3 3 4.6 7 9.3 7 1.8 0 3.4-.6 4.8-1.5M9.9 9.9a3 3 0 0 0 4.2 4.2",
  screen: "M3 5h18v11H3zM8 20h8M12 16v4M12 13V8M9.5 10L12 7.5l2.5 2.5",
  send: "M4 12l16-8-6 16-3-6z",
  sent: "M5 13l4.5 4.5L19 8",
  settings: "M4 7h9M19 7h1M16 4.5v5M4 17h1M11 17h9M8 14.5v5M4 12h3M13 12h7M10 9.5v5",
  shield: "M12 3l7.5 2.5v6c0 4.5-3 8-7.5 9.5-4.5-1.5-7.5-5-7.5-9.5v-6zM9 12l2.2 2.2L15.5 10",
  shrink: "M14 4v6h6M20 4l-6 6M10 20v-6H4M4 20l6-6",
  star: "M12 3.5l2.6 5.4 5.9.8-4.3 4.1 1 5.9-5.2-2.8-5.2 2.8 1-5.9L3.5 9.7l5.9-.8z",
  expand: "M14 4h6v6M20 4l-6 6M10 20H4v-6M4 20l6-6",
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
