/** What the page can tell about the network and about being looked at. Nothing outside of a browser. */

/**
 * Listen until the returned function is called.
 * @param {{wake: () => void, doubt: () => void, leave: () => void}} what `wake`: it may work again. `doubt`: it may have
 *   stopped working. `leave`: the page may not get another chance to save.
 * @returns {() => void}
 */
export function listenToThePage({ wake, doubt, leave }) {
  if (typeof document === "undefined") return () => {};
  const listening = new AbortController();
  const { signal } = listening;
  const shownOrHidden = () => (document.visibilityState === "visible" ? wake() : leave());
  document.addEventListener("visibilitychange", shownOrHidden, { signal });
  globalThis.addEventListener("pageshow", wake, { signal });
  globalThis.addEventListener("pagehide", leave, { signal });
  globalThis.addEventListener("online", wake, { signal });
  globalThis.addEventListener("offline", doubt, { signal });
  return () => listening.abort();
}
