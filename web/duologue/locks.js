/** Mutual exclusion between the tabs of one profile, by the Web Locks API; within this page where there is none. */

/** @type {Map<string, Promise<unknown>>} */
const chains = new Map();

/** Web Locks exist only in secure contexts (https, localhost). */
const locks = globalThis.navigator?.locks;

/**
 * Run `work` while no other tab runs work under `name`.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(name, work) {
  if (locks) return await locks.request(name, work);
  const before = chains.get(name) ?? Promise.resolve();
  const run = before.then(work, work);
  chains.set(name, run);
  try {
    return await run;
  } finally {
    if (chains.get(name) === run) chains.delete(name);
  }
}

/**
 * Hold `name` until the returned function is called or the page goes away; undefined when it is not free within
 * `patienceMs`.
 * @param {string} name
 * @param {number} patienceMs
 * @returns {Promise<(() => void) | undefined>}
 */
export function holdLock(name, patienceMs) {
  if (!locks) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const waited = new AbortController();
    const timer = setTimeout(() => waited.abort(), patienceMs);
    locks
      .request(name, { signal: waited.signal }, () => {
        clearTimeout(timer);
        /** @type {Promise<void>} */
        const held = new Promise((release) => resolve(() => release()));
        return held;
      })
      .catch(() => resolve(undefined));
  });
}
