/** The first card: who are you? */

/** @import { Backend } from "./backend.js" */

import { userOf } from "./backend.js";
import { el } from "./dom.js";

/** @typedef {{user: string, token: () => Promise<string>}} Account */

/**
 * Ask for a name (in development mode) or a token.
 * @param {Backend} backend
 * @param {(account: Account) => void} signedIn
 * @param {string} [why] Why the last session ended.
 */
export function signInCard(backend, signedIn, why = "") {
  const development = backend.isDevelopment;
  const label = development ? "Your name" : "Access token";
  const field = el("input", {
    id: "who",
    name: development ? "username" : "token",
    type: development ? "text" : "password",
    autocomplete: development ? "username" : "off",
    maxlength: development ? 64 : 4096,
    placeholder: development ? "for example Ada" : "eyJ…",
    required: true,
    spellcheck: "false",
  });
  const problem = el("p", { class: "problem", role: "alert" }, why);
  const form = el(
    "form",
    { class: "card", "aria-labelledby": "welcome" },
    el("img", { class: "logo", src: "/icon.svg", alt: "", width: 56, height: 56 }),
    el("h1", { id: "welcome" }, "Welcome to Duologue"),
    el("p", { class: "lead" }, "Chat with the people you were matched with."),
    el("label", { for: "who" }, label),
    field,
    problem,
    el("button", { class: "primary", type: "submit" }, "Start chatting"),
    development &&
      el(
        "p",
        { class: "hint" },
        "Development mode: any name will do. Open a second window with another name and chat with yourself.",
      ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.normalize("NFC").trim();
    const user = development ? text : userOf(text);
    if (!user) problem.textContent = development ? "Please type a name." : "This is not an access token.";
    else signedIn({ user, token: () => (development ? backend.token(user) : Promise.resolve(text)) });
  });
  const page = el("main", { class: "sign-in" }, form);
  queueMicrotask(() => field.focus());
  return page;
}
