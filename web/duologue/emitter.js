/** A typed event emitter: `on` returns the function that ends the subscription. */

/**
 * @template {Record<string, unknown>} Events
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(detail: never) => void>>} */
  #listeners = new Map();

  /**
   * Call `listener` with each `name` event from now on; returns the function that stops it.
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {(detail: Events[Name]) => void} listener
   * @returns {() => void}
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /**
   * Tell every listener. One that throws is reported to the console and does not keep the others from hearing.
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {Events[Name]} detail
   */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        /** @type {(detail: Events[Name]) => void} */ (listener)(detail);
      } catch (error) {
        reportError(error);
      }
    }
  }
}

/** @param {unknown} error */
function reportError(error) {
  // A microtask of its own, so that the platform reports it as uncaught with its stack and we go on.
  queueMicrotask(() => {
    throw error;
  });
}
