/** Who is signed in, how they are shown to others, and the dialog that changes it. */

/** @import { Duologue, OwnPresence } from "../duologue.js" */

import { inWords } from "./ask.js";
import { openDialog } from "./dialog.js";
import { el, fill, set } from "./dom.js";
import { avatar, dot } from "./people.js";

/** As many as the protocol takes. */
const TEXT_MAX = 100;

const CHOICES = /** @type {{status: OwnPresence["status"], label: string, hint: string}[]} */ ([
  { status: "online", label: "Online", hint: "Away by itself when you look at none of your devices." },
  { status: "away", label: "Away", hint: "Until you change it." },
  { status: "dnd", label: "Do not disturb", hint: "Others see that you would rather not be called." },
  { status: "invisible", label: "Invisible", hint: "Others see you as offline. You can still write." },
]);

/** The button with this user's name and status. @param {Duologue} chat */
export function accountButton(chat) {
  const button = el("button", { class: "me", type: "button", "aria-haspopup": "dialog" });
  const show = () => {
    const { status, text } = chat.ownPresence;
    const label = CHOICES.find((choice) => choice.status === status)?.label ?? "Online";
    const line = status === "online" ? text : [label, text].filter(Boolean).join(" · ");
    const said = `${chat.user}, ${[label, text].filter(Boolean).join(", ")}. Change your status`;
    set(button, { "aria-label": said, title: "Change your status" });
    fill(
      button,
      avatar([chat.user], status),
      el(
        "span",
        { class: "self" },
        el("span", { class: "name" }, chat.user),
        el("span", { class: "mood" }, line || "Set your status"),
      ),
    );
  };
  button.addEventListener("click", () => openStatus(chat));
  chat.on("ownPresence", show);
  show();
  return button;
}

/** @param {Duologue} chat */
function openStatus(chat) {
  const own = chat.ownPresence;
  const radios = CHOICES.map((choice) => radio(choice, own.status));
  const words = el("input", {
    id: "own-words",
    type: "text",
    maxlength: TEXT_MAX,
    value: own.text,
    placeholder: "for example: In an exam until noon",
    autocomplete: "off",
  });
  const rounded = el("input", { type: "checkbox", id: "rounded", checked: own.last_seen === "rounded" });
  const problem = el("p", { class: "problem", role: "alert" });
  const save = el("button", { class: "primary", type: "submit" }, "Save");
  const form = el(
    "form",
    {},
    el("fieldset", { class: "statuses" }, el("legend", { class: "sr-only" }, "Status"), ...radios),
    el("label", { for: "own-words" }, "In your own words"),
    words,
    el("label", { class: "check-line", for: "rounded" }, rounded, "Show only the hour in which I was last seen"),
    problem,
    save,
  );
  const blocked = blockedList(chat, problem);
  const dialog = openDialog({ id: "status", title: "Your status", kind: "status", content: [form, blocked.element] });
  dialog.addEventListener("close", blocked.end);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = CHOICES.find((_, index) => radios[index]?.querySelector("input")?.checked);
    save.disabled = true;
    try {
      await chat.setPresence({
        status: chosen?.status ?? "online",
        text: words.value.trim(),
        last_seen: rounded.checked ? "rounded" : "exact",
      });
      dialog.close();
    } catch (error) {
      problem.textContent = inWords(error);
      save.disabled = false;
    }
  });
  radios
    .find((each) => each.querySelector("input")?.checked)
    ?.querySelector("input")
    ?.focus();
}

/** @param {typeof CHOICES[number]} choice @param {OwnPresence["status"]} current */
function radio({ status, label, hint }, current) {
  return el(
    "label",
    { class: "status-choice" },
    el("input", {
      type: "radio",
      name: "status",
      value: status,
      checked: status === current,
      "aria-label": label,
      "aria-describedby": `why-${status}`,
    }),
    dot(status),
    el("span", { class: "what" }, el("span", {}, label), el("span", { class: "why", id: `why-${status}` }, hint)),
  );
}

/**
 * Whom this user has blocked, here or on another device, each with the way back; `end` stops listening.
 * @param {Duologue} chat @param {HTMLElement} problem
 */
function blockedList(chat, problem) {
  /** @type {Map<string, HTMLElement>} */
  const rows = new Map();
  const list = el("ul", { class: "blocked-people" });
  const element = el("section", {}, el("h3", {}, "Blocked"), list);
  const show = () => {
    for (const [user, row] of rows) if (!chat.blocked.has(user)) leave(user, row);
    for (const user of chat.blocked) if (!rows.has(user)) rows.set(user, list.appendChild(one(user)));
    element.hidden = rows.size === 0;
  };
  const leave = (/** @type {string} */ user, /** @type {HTMLElement} */ row) => {
    const hadFocus = row.contains(document.activeElement);
    const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button");
    row.remove();
    rows.delete(user);
    if (!hadFocus) return;
    const heading = element.closest("dialog")?.querySelector("h2");
    heading?.setAttribute("tabindex", "-1");
    (next ?? heading)?.focus();
  };
  const one = (/** @type {string} */ user) => {
    const button = el("button", { type: "button", class: "secondary", "aria-label": `Unblock ${user}` }, "Unblock");
    button.addEventListener("click", () =>
      chat.unblock(user).catch((error) => {
        problem.textContent = inWords(error);
      }),
    );
    return el("li", {}, avatar([user]), el("span", { class: "name" }, user), button);
  };
  const end = chat.on("blocked", show);
  show();
  return { element, end };
}
