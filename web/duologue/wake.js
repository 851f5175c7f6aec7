/** What the page can tell about the network and about being looked at. Nothing outside of a browser. */

/**
 * Listen until the returned function is called.
 * A page that goes says no goodbye: a reload looks the same and is back within the moment that a lost connection is given,
 * so that nobody sees this user leave and come.
 * @param {object} what
 * @param {() => void} what.wake It may work again.
 * @param {() => void} what.doubt It may have stopped working.
 * @param {() => void} what.leave The page may not get another chance to save.
 * @param {(isShown: boolean) => void} what.shown Whether somebody can see the page; told at once, too.
 * @returns {() => void}
 */
export function listenToThePage({ wake, doubt, leave, shown }) {
  if (typeof document === "undefined") return () => {};
  const listening = new AbortController();
  const { signal } = listening;
  const shownOrHidden = () => {
    const isShown = document.visibilityState === "visible";
    shown(isShown);
    if (isShown) wake();
    else leave();
  };
  shown(document.visibilityState === "visible");
  document.addEventListener("visibilitychange", shownOrHidden, { signal });
  globalThis.addEventListener("pageshow", wake, { signal });
  globalThis.addEventListener("pagehide", leave, { signal });
  globalThis.addEventListener("online", wake, { signal });
  globalThis.addEventListener("offline", doubt, { signal });
  return () => listening.abort();
}
