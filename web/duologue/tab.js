/**
 * Tells a reloaded tab (whose old connection may still look alive to the server, and is to be replaced) from a duplicated
 * one (which got a copy of `sessionStorage`, and must not throw its original out).
 *
 * A tab holds a Web Lock of its own name as long as it lives. A reload frees it; beside a live original it is taken.
 */

import { uuid7 } from "./ids.js";
import { holdLock } from "./locks.js";

/** A reload frees the lock of the old document a moment late. */
const RELOAD_PATIENCE_MS = 500;

export class Tab {
  /** The session to replace on the next hello. @type {string | undefined} */
  session;

  /**
   * @param {string} key
   * @param {string} id
   * @param {() => void} release
   */
  constructor(key, id, release) {
    this.key = key;
    this.id = id;
    /** Free the tab's name. */
    this.release = release;
  }

  /**
   * Take this tab's name for `scope`, or a new one.
   * @param {string} scope
   */
  static async claim(scope) {
    const key = `duologue.tab ${scope}`;
    const kept = read(key);
    const held = kept && (await holdLock(`${key} ${kept.id}`, RELOAD_PATIENCE_MS));
    if (kept && held) {
      const tab = new Tab(key, kept.id, held);
      tab.session = kept.session;
      return tab;
    }
    const id = uuid7();
    const tab = new Tab(key, id, (await holdLock(`${key} ${id}`, RELOAD_PATIENCE_MS)) ?? (() => {}));
    tab.#save();
    return tab;
  }

  /** @param {string} session */
  remember(session) {
    this.session = session;
    this.#save();
  }

  #save() {
    try {
      globalThis.sessionStorage?.setItem(this.key, JSON.stringify({ id: this.id, session: this.session }));
    } catch {
      // Storage is forbidden here: a reload is then just another connection.
    }
  }
}

/**
 * @param {string} key
 * @returns {{id: string, session?: string} | undefined}
 */
function read(key) {
  try {
    const text = globalThis.sessionStorage?.getItem(key);
    const kept = text ? JSON.parse(text) : undefined;
    return typeof kept?.id === "string" ? kept : undefined;
  } catch {
    return undefined;
  }
}
