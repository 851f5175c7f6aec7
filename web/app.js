/** The demo app's start: who is signed in in this tab, and the card that asks when nobody is. */

import { Backend } from "./app/backend.js";
import { el, fill } from "./app/dom.js";
import { signInCard } from "./app/sign_in.js";
import { applyTheme } from "./app/theme.js";
import { Workspace } from "./app/workspace.js";

// Per tab, so that two windows of one browser can be two people. A pasted token is not kept: a reload asks again.
const KEY = "duologue.user";

applyTheme();
void start();

async function start() {
  const name = sessionStorage.getItem(KEY);
  if (name) {
    // Signed in already: do not wait for the server, it may be away. Only development mode keeps a name.
    const backend = new Backend("dev");
    await enter(backend, { user: name, token: () => backend.token(name) });
    return;
  }
  try {
    ask(await Backend.find());
  } catch {
    const again = el("button", { class: "primary", type: "button" }, "Try again");
    again.addEventListener("click", () => void start());
    const card = el(
      "div",
      { class: "card" },
      el("h1", {}, "Duologue"),
      el("p", {}, "The server cannot be reached."),
      again,
    );
    fill(document.body, el("main", { class: "sign-in" }, card));
  }
}

/** @param {Backend} backend @param {string} [why] */
function ask(backend, why) {
  fill(
    document.body,
    signInCard(
      backend,
      (account) => {
        if (backend.isDevelopment) sessionStorage.setItem(KEY, account.user);
        void enter(backend, account);
      },
      why,
    ),
  );
}

/** @param {Backend} backend @param {import("./app/sign_in.js").Account} account */
async function enter(backend, account) {
  const workspace = new Workspace(account, backend, (why) => {
    sessionStorage.removeItem(KEY);
    ask(backend, why);
  });
  fill(document.body, workspace.element);
  await workspace.open();
}
