/** Light or dark: as the system says, or as chosen here. */

import { fill, icon, iconButton, set } from "./dom.js";

const KEY = "duologue.theme";
const CHOICES = /** @type {const} */ (["system", "light", "dark"]);
const PICTURES = /** @type {const} */ ({ system: "system", light: "sun", dark: "moon" });
const LABELS = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

/** Put the choice of last time into effect. */
export function applyTheme() {
  document.documentElement.dataset.theme = chosen();
}

/** A button that goes round the choices. */
export function themeButton() {
  const button = iconButton(PICTURES[chosen()], LABELS[chosen()], () => {
    const next = CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length] ?? "system";
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // Not kept, then.
    }
    document.documentElement.dataset.theme = next;
    set(button, { "aria-label": LABELS[next], title: LABELS[next] });
    fill(button, icon(PICTURES[next]));
  });
  return button;
}

function chosen() {
  try {
    const kept = document.documentElement.dataset.theme ?? localStorage.getItem(KEY);
    return CHOICES.find((choice) => choice === kept) ?? "system";
  } catch {
    return "system";
  }
}
