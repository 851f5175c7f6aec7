/** Who is signed in, how they are shown to others, and the dialog that changes it. */

/** @import { Duologue, OwnPresence } from "../duologue.js" */

import { inWords } from "./ask.js";
import { el, fill, iconButton, set } from "./dom.js";
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
  const dialog = el(
    "dialog",
    { class: "card status", "aria-labelledby": "status" },
    el(
      "header",
      {},
      el("h2", { id: "status" }, "Your status"),
      iconButton("close", "Close", () => dialog.close()),
    ),
    form,
    blockedList(chat, problem),
  );
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
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
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

/** Whom this user has blocked, each with the way back. @param {Duologue} chat @param {HTMLElement} problem */
function blockedList(chat, problem) {
  const list = el("ul", { class: "blocked-people" });
  const section = el("section", {}, el("h3", {}, "Blocked"), list);
  const show = () => {
    section.hidden = chat.blocked.size === 0;
    fill(list, ...[...chat.blocked].map(one));
  };
  const one = (/** @type {string} */ user) => {
    const button = el("button", { type: "button", class: "secondary", "aria-label": `Unblock ${user}` }, "Unblock");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await chat.unblock(user);
        show();
      } catch (error) {
        problem.textContent = inWords(error);
        button.disabled = false;
      }
    });
    return el("li", {}, avatar([user]), el("span", { class: "name" }, user), button);
  };
  show();
  return section;
}
