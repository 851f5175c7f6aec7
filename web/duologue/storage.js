/**
 * Where cursors, the newest entries and unsent messages survive a reload: IndexedDB, or memory where that is refused.
 *
 * A scope is one user on one server; tabs of one profile share it.
 */

/** @import { Body } from "./protocol.js" */
/** @import { StoredMatch } from "./match_log.js" */

/**
 * @typedef {object} OutboxItem A message that is not known to be stored yet.
 * @property {string} client_id
 * @property {string} match
 * @property {Body} body
 * @property {number} [reply_to]
 * @property {number} created_ms When it was written (`Date.now()`).
 * @property {string} order Items of a match are sent in this order.
 * @property {"waiting" | "failed"} state
 * @property {string} [error] Why it failed: an error code of the protocol, or `expired`.
 */
/**
 * @typedef {object} Storage
 * @property {(scope: string) => Promise<{matches: StoredMatch[], outbox: OutboxItem[]}>} load
 * @property {(scope: string, records: StoredMatch[]) => Promise<void>} saveMatches Another tab may be ahead: the higher cursor of one epoch stays.
 * @property {(scope: string, match: string) => Promise<void>} removeMatch
 * @property {(scope: string) => Promise<OutboxItem[]>} outbox In sending order.
 * @property {(scope: string, item: OutboxItem) => Promise<void>} putOutbox
 * @property {(scope: string, clientId: string) => Promise<void>} removeOutbox
 * @property {(scope: string) => Promise<void>} clear Forget everything of the scope.
 */

/**
 * Open the database, or memory when the browser does not let us keep anything.
 * @param {string} [name]
 * @returns {Promise<Storage>}
 */
export async function openStorage(name = "duologue") {
  try {
    return new IndexedDbStorage(await openDatabase(name));
  } catch {
    return new MemoryStorage();
  }
}

/** @implements {Storage} */
export class MemoryStorage {
  /** @type {Map<string, {matches: Map<string, StoredMatch>, outbox: Map<string, OutboxItem>}>} */
  #scopes = new Map();

  /** @param {string} scope */
  #of(scope) {
    const found = this.#scopes.get(scope) ?? { matches: new Map(), outbox: new Map() };
    this.#scopes.set(scope, found);
    return found;
  }

  /** @param {string} scope */
  async load(scope) {
    return { matches: structuredClone([...this.#of(scope).matches.values()]), outbox: await this.outbox(scope) };
  }

  /**
   * @param {string} scope
   * @param {StoredMatch[]} records
   */
  async saveMatches(scope, records) {
    const { matches } = this.#of(scope);
    for (const record of records) {
      if (replaces(record, matches.get(record.match))) matches.set(record.match, structuredClone(record));
    }
  }

  /**
   * @param {string} scope
   * @param {string} match
   */
  async removeMatch(scope, match) {
    this.#of(scope).matches.delete(match);
  }

  /** @param {string} scope */
  async outbox(scope) {
    return structuredClone([...this.#of(scope).outbox.values()]).sort(byOrder);
  }

  /**
   * @param {string} scope
   * @param {OutboxItem} item
   */
  async putOutbox(scope, item) {
    this.#of(scope).outbox.set(item.client_id, structuredClone(item));
  }

  /**
   * @param {string} scope
   * @param {string} clientId
   */
  async removeOutbox(scope, clientId) {
    this.#of(scope).outbox.delete(clientId);
  }

  /** @param {string} scope */
  async clear(scope) {
    this.#scopes.delete(scope);
  }
}

/** @implements {Storage} */
export class IndexedDbStorage {
  /** @param {IDBDatabase} database */
  constructor(database) {
    this.database = database;
    // Another tab deletes or upgrades the database: do not stand in its way.
    database.onversionchange = () => database.close();
  }

  /** @param {string} scope */
  async load(scope) {
    const store = this.database.transaction("matches").objectStore("matches");
    /** @type {StoredMatch[]} */
    const matches = await settled(store.getAll(everyKeyOf(scope)));
    return { matches, outbox: await this.outbox(scope) };
  }

  /**
   * @param {string} scope
   * @param {StoredMatch[]} records
   */
  async saveMatches(scope, records) {
    const transaction = this.database.transaction("matches", "readwrite");
    const store = transaction.objectStore("matches");
    for (const record of records) {
      const found = store.get([scope, record.match]);
      found.onsuccess = () => {
        if (replaces(record, found.result)) store.put(record, [scope, record.match]);
      };
    }
    await committed(transaction);
  }

  /**
   * @param {string} scope
   * @param {string} match
   */
  async removeMatch(scope, match) {
    await this.#write("matches", (store) => store.delete([scope, match]));
  }

  /** @param {string} scope */
  async outbox(scope) {
    const store = this.database.transaction("outbox").objectStore("outbox");
    /** @type {OutboxItem[]} */
    const items = await settled(store.getAll(everyKeyOf(scope)));
    return items.sort(byOrder);
  }

  /**
   * @param {string} scope
   * @param {OutboxItem} item
   */
  async putOutbox(scope, item) {
    await this.#write("outbox", (store) => store.put(item, [scope, item.client_id]));
  }

  /**
   * @param {string} scope
   * @param {string} clientId
   */
  async removeOutbox(scope, clientId) {
    await this.#write("outbox", (store) => store.delete([scope, clientId]));
  }

  /** @param {string} scope */
  async clear(scope) {
    for (const name of ["matches", "outbox"]) await this.#write(name, (store) => store.delete(everyKeyOf(scope)));
  }

  /**
   * @param {string} name
   * @param {(store: IDBObjectStore) => unknown} change
   */
  async #write(name, change) {
    const transaction = this.database.transaction(name, "readwrite");
    change(transaction.objectStore(name));
    await committed(transaction);
  }
}

/**
 * @param {StoredMatch} record
 * @param {StoredMatch | undefined} found
 */
function replaces(record, found) {
  if (!found || found.epoch !== record.epoch || !found.cursor || !record.cursor) return true;
  return record.cursor[0] >= found.cursor[0];
}

/**
 * @param {OutboxItem} a
 * @param {OutboxItem} b
 */
function byOrder(a, b) {
  return a.order < b.order ? -1 : 1;
}

/** Arrays sort after strings, so this spans every [scope, string]. @param {string} scope */
function everyKeyOf(scope) {
  return IDBKeyRange.bound([scope], [scope, []]);
}

/**
 * @param {string} name
 * @returns {Promise<IDBDatabase>}
 */
function openDatabase(name) {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("matches");
    request.result.createObjectStore("outbox");
  };
  return settled(request);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @param {IDBTransaction} transaction
 * @returns {Promise<void>}
 */
function committed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
