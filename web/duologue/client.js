/**
 * The chat client: put together from connection, matches, outbox, receipts, typing and presence.
 *
 * See `Duologue` for the interface; `docs/protocol.md` for what it speaks.
 */

/** @import { Body, Entry, Limits, MatchSummary, Member, MessageEntry, OwnPresence, Presence, Push, Timers, TypingKind, Welcome } from "./protocol.js" */
/** @import { CallPush } from "./call_types.js" */
/** @import { Status } from "./connection.js" */
/** @import { MatchChange } from "./matches.js" */
/** @import { MatchLog } from "./match_log.js" */
/** @import { ClientState, PresenceWish } from "./myself.js" */
/** @import { OutboxChange } from "./outbox.js" */
/** @import { OutboxItem, Storage } from "./storage.js" */

import { Calls } from "./calls.js";
import { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { Matches } from "./matches.js";
import { Myself } from "./myself.js";
import { Outbox } from "./outbox.js";
import { PresenceWatch } from "./presence.js";
import { DEFAULT_LIMITS, DEFAULT_TIMERS, DuologueError } from "./protocol.js";
import { Receipts } from "./receipts.js";
import { openStorage } from "./storage.js";
import { Tab } from "./tab.js";
import { Typing } from "./typing.js";
import { listenToThePage } from "./wake.js";

/**
 * @typedef {object} DuologueOptions
 * @property {string} url Address of the socket, `wss://chat.example/ws`.
 * @property {() => Promise<string> | string} token Gives a valid access token; asked before every connect and when the
 *   server says that the present one is about to expire. Throw a `DuologueError` with a code of your own to stop for
 *   good; anything else is tried again.
 * @property {string} [user] The token's user. Needed only when the token is not a JWT, so that what is stored can be
 *   shown before the first connection.
 * @property {string} [device] A name for this machine, 1 to 64 characters.
 * @property {Storage} [storage] Where to keep cursors and unsent messages; IndexedDB by default.
 * @property {boolean} [followPage] Tell the server when nobody sees the page (`client_state`), so that it holds typing and
 *   presence back and shows the user as away when no device is looked at; true by default. False: say it by `setClientState`.
 * @property {number} [maxEntries] Entries held in memory per match (default 1000); older ones are read when asked for.
 * @property {(config: RTCConfiguration) => RTCPeerConnection} [connect] Makes peer connections; for tests.
 * @property {(url: string) => WebSocket} [open] Makes the socket; for tests and odd platforms.
 */
/**
 * @typedef {object} MatchView A match as it stands now.
 * @property {string} match
 * @property {Member[]} members Everyone, this user too, with the seq up to which it was delivered to and read by them.
 * @property {string[]} others The members but this user.
 * @property {number} unread
 * @property {number} last_seq
 * @property {number} last_at Microseconds.
 * @property {Entry | null} last The newest entry.
 * @property {number} read How far this user has read (seq).
 * @property {number} delivered_to_all How far the slowest other member's devices are (seq), of those that it is told of.
 * @property {number} read_by_all How far the slowest other member has read (seq), of those that it is told of.
 * @property {boolean} private_read The others are not shown how far this user has read.
 */
/**
 * @typedef {object} DuologueEvents
 * @property {Status} status The connection changed.
 * @property {{user: string}} ready Connected, and the list of matches is fresh.
 * @property {{match: string, change: MatchChange}} match A match came, changed or went; `unread` and `reset` too.
 * @property {{unread: number}} unread The total over all matches.
 * @property {Entry} entry The next entry of a match's log, in order, each once. Unknown types are told too.
 * @property {MessageEntry} message As `entry`, messages only.
 * @property {OutboxChange} outbox An unsent message was taken, is being sent, was stored, failed or was discarded.
 * @property {{match: string, user: string}} receipt A member's receipts moved; see `match()`.
 * @property {{match: string, users: string[]}} typing These other users are writing; `recordingIn` tells who of them records.
 * @property {Presence} presence A watched user came, went, is shown otherwise or became unknown.
 * @property {OwnPresence} ownPresence This user is shown otherwise, by this device or another.
 * @property {{user: string, on: boolean}} blocked This user blocked somebody, or took it back, on this device or another.
 * @property {{name: string, data: Record<string, unknown>}} event Something the app's backend tells.
 * @property {{active: boolean}} degraded While active, news from other nodes of the server may come late; nothing is lost.
 */

const MAX_ENTRIES = 1_000;
const SAVE_DELAY_MS = 250;
const HISTORY_PAGE = 50;

/**
 * A user's chat: `new Duologue({ url, token })`, listen with `on`, then `connect()`.
 *
 * Guarantees: entries of a match are told in order, each once, across any number of lost connections; a message that was
 * taken by `send` is stored once or reported as failed, also across reloads.
 *
 * @extends {Emitter<DuologueEvents & Record<string, unknown>>}
 */
export class Duologue extends Emitter {
  /** The user of the token; empty before it is known. */
  user = "";
  /** What the server allows; see docs/protocol.md. @type {Limits} */
  limits = DEFAULT_LIMITS;
  /** @type {Timers} */
  timers = DEFAULT_TIMERS;

  /** @type {Connection} */
  #connection;
  #matches = this.#newMatches();
  /** @type {Outbox | undefined} */
  #outbox;
  /** @type {Storage | undefined} */
  #storage;
  /** @type {Tab | undefined} */
  #tab;
  #receipts = new Receipts((message) => this.#connection.send(message));
  #typing = new Typing(
    (message) => this.#connection.send(message),
    (match) => this.emit("typing", { match, users: this.#typing.users(match) }),
    () => this.timers,
  );
  #presence = new PresenceWatch({
    request: (message) => this.#connection.request(message),
    changed: (presence) => this.emit("presence", presence),
    isHidden: (user) => this.blocked.has(user),
  });
  #myself = new Myself({
    request: (message) => this.#connection.request(message),
    send: (message) => this.#connection.send(message),
    online: () => this.#connection.online,
    presenceChanged: (presence) => this.emit("ownPresence", presence),
    blockChanged: (user, on, isNews) => this.#blockChanged(user, on, isNews),
  });
  /** Everything about calls; see `Calls`. */
  calls = new Calls({
    request: (message) => this.#connection.request(message),
    online: () => this.#connection.online,
    user: () => this.user,
    timers: () => this.timers,
    limits: () => this.limits,
    connect: (config) => this.options.connect?.(config) ?? new RTCPeerConnection(config),
  });
  #epoch = "";
  #pageIsShown = true;
  /** @type {Record<string, unknown>} */
  #resumed = {};
  #unread = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #saveTimer;
  /** @type {() => void} */
  #deaf = () => {};
  /** @type {Promise<void> | undefined} */
  #opening;

  /** @param {DuologueOptions} options */
  constructor(options) {
    super();
    this.options = options;
    this.#connection = new Connection({
      url: options.url,
      token: options.token,
      open: options.open ?? ((url) => new WebSocket(url)),
      hello: (token) => this.#hello(token),
      welcomed: (welcome) => this.#welcomed(welcome),
      pushed: (push) => this.#pushed(push),
      changed: (status) => this.#statusChanged(status),
    });
    for (const name of /** @type {const} */ (["joined", "ended"])) this.calls.on(name, () => this.#followPage());
  }

  // ---- the connection

  /** `connecting`, `online`, `offline` (comes back at `retry_at_ms`) or `closed` (does not). */
  get status() {
    return this.#connection.status;
  }

  /** Load what was kept from before, if the user is known: matches and unsent messages can be shown while offline. */
  async open() {
    if (this.options.user) await this.#openAs(this.options.user);
  }

  /** Connect, and stay connected until `close()`. Called while waiting for the next attempt: try now. */
  connect() {
    this.#deaf();
    this.#deaf = listenToThePage({
      wake: () => this.#connection.wake(),
      doubt: () => this.#connection.doubt(),
      leave: () => {
        this.#receipts.flush();
        void this.#save();
      },
      shown: (isShown) => {
        this.#pageIsShown = isShown;
        this.#followPage();
      },
    });
    this.#connection.connect();
  }

  /**
   * End the connection with a goodbye: unless another device of the user is there, the others see them offline at once.
   * What is unsent stays stored. `forget`: erase what this browser holds of the user, too.
   */
  async close({ forget = false } = {}) {
    this.#deaf();
    this.calls.close();
    this.#receipts.flush();
    await this.#save();
    this.#connection.close();
    this.#outbox?.end();
    this.#outbox = undefined;
    this.#tab?.release();
    this.#tab = undefined;
    this.#opening = undefined;
    if (forget && this.user) await this.#storage?.clear(this.#scope(this.user));
  }

  // ---- matches

  /** The matches known here, the one with the newest entry first. */
  matches() {
    return this.#matches.newestFirst().map((log) => view(log, this.blocked));
  }

  /** One match, or undefined. @param {string} match */
  match(match) {
    const log = this.#matches.logs.get(match);
    return log && view(log, this.blocked);
  }

  /** There are matches older than those in `matches()`: `moreMatches()` reads the next 100. */
  get hasMoreMatches() {
    return !this.#matches.complete;
  }

  /** Read the next page of older matches. */
  async moreMatches() {
    const before = this.#matches.newestFirst().at(-1)?.lastAt;
    /** @type {{matches: MatchSummary[], complete: boolean}} */
    const page = await this.#connection.request({ type: "matches", ...(before === undefined ? {} : { before }) });
    this.#matches.welcome(page.matches, { complete: page.complete, resumed: {}, first: false });
    this.#countUnread();
  }

  /** Messages not read yet, over all matches known here. */
  get unread() {
    return this.#unread;
  }

  // ---- messages

  /**
   * The entries of `match` held in memory: unbroken, oldest first, up to the newest. `complete`: nothing is older.
   * @param {string} match
   * @returns {{entries: readonly Entry[], complete: boolean}}
   */
  entries(match) {
    const log = this.#matches.logs.get(match);
    return { entries: log?.entries.slice() ?? [], complete: log?.atStart ?? false };
  }

  /**
   * Read a page of the log, oldest first: the newest entries, those `before` or those `after` a `created_at`.
   * `complete`: nothing lies beyond the page. What joins the held entries is held from then on.
   * @param {string} match
   * @param {{before?: number, after?: number, limit?: number}} [page] `limit`: 50 by default, at most `limits.page`.
   */
  async history(match, { before, after, limit = HISTORY_PAGE } = {}) {
    const position = { ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
    /** @type {{messages: Entry[], complete: boolean}} */
    const page = await this.#connection.request({ type: "history", match, limit, ...position });
    const entries = after === undefined ? page.messages.reverse() : page.messages;
    const log = this.#matches.logs.get(match);
    if (log && after === undefined) {
      log.prepend(entries, page.complete);
      // The newest page may know of entries whose push is still under way.
      if (before === undefined && log.cursor) for (const entry of entries) this.#matches.offer(entry);
      this.#matches.dirty.add(match);
      this.#saveSoon();
    }
    return { entries, complete: page.complete };
  }

  /**
   * Post a message. Resolves when it is kept here; it is sent as soon as it can be, whatever happens in between, and
   * reported by `outbox` events. Throws `outbox_full` at 1,000 unsent messages.
   * @param {string} match
   * @param {Body | string} body Text, or `{text, data}`.
   * @param {{reply_to?: number}} [options] `reply_to`: the `seq` of the message that this one answers.
   */
  async send(match, body, { reply_to } = {}) {
    if (!this.#outbox) throw new DuologueError("offline", "connect first");
    this.#typing.stopped(match);
    return await this.#outbox.add(match, typeof body === "string" ? { text: body } : body, reply_to);
  }

  /** Messages not stored yet, in the order written. @param {string} [match] @returns {OutboxItem[]} */
  unsent(match) {
    return this.#outbox?.items(match) ?? [];
  }

  /** Send a failed message again. @param {string} clientId */
  async retry(clientId) {
    await this.#outbox?.retry(clientId);
  }

  /** Throw an unsent message away. @param {string} clientId */
  async discard(clientId) {
    await this.#outbox?.discard(clientId);
  }

  /**
   * The user has read `match` up to `seq` (default: all that is here). Told to the others, a few times a second at most.
   * @param {string} match
   * @param {number} [seq]
   */
  read(match, seq) {
    const to = seq ?? this.#matches.logs.get(match)?.cursor?.[0] ?? 0;
    if (!this.#matches.read(match, to)) return;
    this.#receipts.add(match, "read", to);
    this.#saveSoon();
  }

  // ---- people

  /**
   * The user pressed a key in the field for `match`, or goes on recording; call it on each.
   * @param {string} match
   * @param {TypingKind} [kind]
   */
  typing(match, kind) {
    this.#typing.pressed(match, kind);
  }

  /** The user emptied the field. `send` says it too. @param {string} match */
  typingStopped(match) {
    this.#typing.stopped(match);
  }

  /** Who else is writing (or recording) in `match` now. @param {string} match */
  typingIn(match) {
    return this.#typing.users(match);
  }

  /** Who of those in `typingIn` is recording. @param {string} match */
  recordingIn(match) {
    return this.#typing.users(match, "recording");
  }

  /** Be told of the presence of these users (partners only) instead of those named before. @param {Iterable<string>} users */
  async watch(users) {
    await this.#presence.watch(users, this.limits.watched);
  }

  /** What is known of a watched user. @param {string} user */
  presence(user) {
    return this.#presence.of(user);
  }

  /** How this user is shown to others. */
  get ownPresence() {
    return this.#myself.presence;
  }

  /**
   * Be shown otherwise from now on, on all devices; what is left out stays. Throws `DuologueError`.
   * @param {PresenceWish} wish
   */
  async setPresence(wish) {
    await this.#myself.setPresence(wish);
  }

  /** Whom this user has blocked; empty before the first `ready`. @returns {ReadonlySet<string>} */
  get blocked() {
    return this.#myself.blocked;
  }

  /**
   * Let nothing pass between this user and `user` from now on, on all devices; they are not told. In a group their messages
   * become `skip` entries, which are held in place of what was held of them before. Throws `DuologueError`.
   * @param {string} user
   */
  async block(user) {
    await this.#myself.setBlocked(user, true);
  }

  /** Take a block back: all is as if it had never been; what was skipped is read again (`reset`). @param {string} user */
  async unblock(user) {
    await this.#myself.setBlocked(user, false);
  }

  /**
   * Show the others of `match` from now on how far this user has read, or do not. Throws `DuologueError`.
   * @param {string} match
   * @param {boolean} on
   */
  async setPrivateRead(match, on) {
    await this.#connection.request({ type: "match.set", match, private_read: on });
    this.#matches.settings(match, on);
    this.#saveSoon();
  }

  /**
   * Whether somebody looks at this client. Said by itself as the page is shown and hidden, but for `followPage: false`.
   * @param {ClientState} state
   */
  setClientState(state) {
    this.#myself.setState(state);
  }

  // ---- inside

  /**
   * @param {string} token
   * @returns {Promise<Record<string, unknown>>}
   */
  async #hello(token) {
    const user = this.options.user ?? subjectOf(token);
    if (user) await this.#openAs(user);
    this.#resumed = this.user ? this.#matches.cursors(this.limits.hello_cursors) : {};
    const { device } = this.options;
    const session = this.#tab?.session;
    return {
      cursors: this.#resumed,
      ...(device ? { device } : {}),
      ...(session ? { session } : {}),
      ...this.#myself.hello(),
    };
  }

  /** @param {string} user */
  #openAs(user) {
    if (!this.#opening || user !== this.user) {
      this.user = user;
      this.#opening = this.#load(user);
    }
    return this.#opening;
  }

  /** @param {string} user */
  async #load(user) {
    const scope = this.#scope(user);
    this.#matches = this.#newMatches();
    this.#myself.reset();
    this.#storage ??= this.options.storage ?? (await openStorage());
    this.#tab?.release();
    this.#tab = await Tab.claim(scope);
    this.#outbox?.end();
    this.#outbox = new Outbox({
      storage: this.#storage,
      scope,
      request: (message) => this.#connection.request(message),
      online: () => this.#connection.online,
      stored: (item, answer) => this.#sent(item, answer),
      changed: (change) => this.#outboxChanged(change),
    });
    // What was kept is a help, not a need.
    const kept = await this.#storage.load(scope).catch(() => ({ matches: [], outbox: [] }));
    this.#matches.restore(kept.matches);
    this.#epoch = kept.matches[0]?.epoch ?? "";
    for (const { match } of kept.matches) this.emit("match", { match, change: "made" });
    await this.#outbox.reload();
    this.#countUnread();
  }

  /** @param {Welcome} welcome */
  async #welcomed(welcome) {
    // The token was not one we can look into, or `options.user` was wrong: the cursors given were nobody's.
    if (welcome.user !== this.user) this.#resumed = {};
    await this.#openAs(welcome.user);
    this.limits = { ...DEFAULT_LIMITS, ...welcome.limits };
    this.timers = { ...DEFAULT_TIMERS, ...welcome.timers };
    this.#epoch = welcome.store_epoch;
    this.#tab?.remember(welcome.session);
    this.#matches.complete = false;
    this.#matches.welcome(welcome.matches, { complete: welcome.complete, resumed: this.#resumed, first: true });
    for (const summary of welcome.matches) this.#tellAgain(summary);
    this.#myself.welcomed(welcome);
    this.#matches.showAnew(this.blocked);
    void this.#presence.renew();
    this.#typing.renew();
    this.#outbox?.run();
    this.#countUnread();
    this.#saveSoon();
    this.calls.connected();
    this.emit("ready", { user: welcome.user });
  }

  /**
   * Receipts that the server did not get before the last connection went.
   * @param {MatchSummary} summary
   */
  #tellAgain(summary) {
    const log = this.#matches.logs.get(summary.match);
    const told = summary.members.find(({ user }) => user === this.user);
    if (!log || !told) return;
    log.markDelivered();
    if (log.mine.delivered > told.delivered) this.#receipts.add(log.match, "delivered", log.mine.delivered);
    if (log.mine.read > told.read) this.#receipts.add(log.match, "read", log.mine.read);
  }

  /** @param {Push} push */
  #pushed(push) {
    if (isCallPush(push)) return this.calls.heard(push);
    switch (push.type) {
      case "match":
        this.#matches.made(push);
        this.#tellAgain(push);
        break;
      case "match.left":
        this.#matches.leave(push.match);
        break;
      case "receipt":
        this.#matches.receipt(push);
        break;
      case "typing":
        if (!this.blocked.has(push.user)) this.#typing.heard(push.match, push.user, push.on, push.kind);
        return;
      case "presence":
        this.#presence.heard(push.changes);
        return;
      case "presence.own":
        this.#myself.shown(push);
        return;
      case "blocked":
        this.#myself.blocks(push.user, push.on);
        return;
      case "match.settings":
        this.#matches.settings(push.match, push.private_read);
        break;
      case "event":
        this.emit("event", { name: push.name, data: push.data });
        return;
      case "degraded":
        this.emit("degraded", { active: push.active });
        return;
      case "gap":
        this.#matches.gap(push.match);
        return;
      case "reset":
        this.#matches.reset(push.match);
        return;
      case "token_expiring":
        void this.#connection.refresh(push.in_ms);
        return;
      case "going_away":
        this.#connection.goAway(push.after_ms);
        return;
      default:
        // Whatever has a match and a seq is an entry of its log, also when this version does not know it.
        if (typeof push.match !== "string" || typeof push.seq !== "number") return;
        this.#matches.offer(push);
    }
    this.#countUnread();
    this.#saveSoon();
  }

  /**
   * @param {string} user
   * @param {boolean} on
   * @param {boolean} isNews
   */
  #blockChanged(user, on, isNews) {
    if (on) {
      this.#typing.silence(user);
      this.#presence.hide(user);
    } else if (isNews) void this.#presence.renew();
    if (isNews) this.#matches.showAnew(this.blocked, user);
    this.emit("blocked", { user, on });
  }

  /** @param {OutboxChange} change */
  #outboxChanged(change) {
    // Something stands between this user and another: what was shown of them last may be long over.
    if (change.state === "failed" && change.item.error === "refused") void this.#presence.renew();
    this.emit("outbox", change);
  }

  /** A page that is hidden behind its own call is not left alone. */
  #followPage() {
    if (this.options.followPage === false) return;
    this.#myself.setState(this.#pageIsShown || this.calls.current ? "active" : "inactive");
  }

  /** @param {Entry} entry */
  #applied(entry) {
    if (entry.type === "message") {
      this.#typing.done(entry.match, entry.sender);
      if (entry.sender === this.user) this.#outbox?.seen(entry);
    }
    this.#tellDelivered(entry.match);
    if (entry.type === "call") this.calls.logged(entry);
    this.emit("entry", entry);
    if (entry.type === "message") this.emit("message", entry);
  }

  /** What is held was read anew: nobody is told of single entries, but they are here. @param {string} match @param {Entry[]} page */
  #readAnew(match, page) {
    this.#tellDelivered(match);
    for (const entry of page) if (entry.type === "call") this.calls.logged(entry);
  }

  /** @param {string} match */
  #tellDelivered(match) {
    const delivered = this.#matches.logs.get(match)?.markDelivered() ?? 0;
    if (delivered) this.#receipts.add(match, "delivered", delivered);
  }

  /**
   * @param {OutboxItem} item
   * @param {{seq: number, created_at: number}} answer
   */
  #sent(item, { seq, created_at }) {
    const { match, client_id, body, reply_to } = item;
    /** @type {MessageEntry} */
    const entry = { type: "message", match, seq, created_at, sender: this.user, client_id, body };
    this.#matches.offer(reply_to === undefined ? entry : { ...entry, reply_to });
    this.#countUnread();
    this.#saveSoon();
  }

  /** @param {Status} status */
  #statusChanged(status) {
    if (status.state !== "online") {
      this.#typing.clear();
      this.#presence.lost();
      this.#matches.lost();
      this.#receipts.clear();
    }
    this.calls.statusChanged();
    this.emit("status", status);
  }

  #newMatches() {
    return new Matches({
      me: this.user,
      maxEntries: this.options?.maxEntries ?? MAX_ENTRIES,
      request: (message) => this.#connection.request(message),
      syncDelayMs: () => this.timers.sync_delay_ms,
      applied: (entry) => this.#applied(entry),
      readAnew: (match, page) => this.#readAnew(match, page),
      changed: (match, change) => this.#matchChanged(match, change),
      receipt: (match, user) => this.emit("receipt", { match, user }),
    });
  }

  /**
   * @param {string} match
   * @param {MatchChange} change
   */
  #matchChanged(match, change) {
    if (change === "left" && this.user) void this.#storage?.removeMatch(this.#scope(this.user), match).catch(() => {});
    this.emit("match", { match, change });
    if (change === "unread" || change === "left") this.#countUnread();
  }

  #countUnread() {
    let total = 0;
    for (const log of this.#matches.logs.values()) total += log.unread;
    if (total === this.#unread) return;
    this.#unread = total;
    this.emit("unread", { unread: total });
  }

  #saveSoon() {
    this.#saveTimer ??= setTimeout(() => void this.#save(), SAVE_DELAY_MS);
  }

  async #save() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    const { dirty, logs } = this.#matches;
    const records = [...dirty].flatMap((match) => logs.get(match)?.toStored(this.#epoch) ?? []);
    dirty.clear();
    if (!records.length || !this.user) return;
    // A reload then resumes from an older cursor: more to read, nothing lost.
    await this.#storage?.saveMatches(this.#scope(this.user), records).catch(() => {});
  }

  /** @param {string} user */
  #scope(user) {
    return `${this.options.url} ${user}`;
  }
}

/** @param {MatchLog} log @param {ReadonlySet<string>} blocked @returns {MatchView} */
function view(log, blocked) {
  const members = [...log.members].map(([user, { delivered, read }]) => ({ user, delivered, read }));
  const others = members.filter(({ user }) => user !== log.me);
  // Receipts of those with whom a block stands are not told: nobody waits for them while there is anybody else.
  const told = others.filter(({ user }) => !blocked.has(user) && !log.members.get(user)?.isHidden);
  const awaited = told.length ? told : others;
  return {
    match: log.match,
    members,
    others: others.map(({ user }) => user),
    unread: log.unread,
    last_seq: log.lastSeq,
    last_at: log.lastAt,
    last: log.last,
    read: log.mine.read,
    delivered_to_all: awaited.length ? Math.min(...awaited.map(({ delivered }) => delivered)) : 0,
    read_by_all: awaited.length ? Math.min(...awaited.map(({ read }) => read)) : 0,
    private_read: log.privateRead,
  };
}

/** The `sub` of a JWT, unverified: it only names the drawer in which this browser keeps its state. @param {string} token */
function subjectOf(token) {
  try {
    const part = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    const subject = JSON.parse(new TextDecoder().decode(bytes)).sub;
    return typeof subject === "string" ? subject : undefined;
  } catch {
    return undefined;
  }
}

/** @param {Push} push @returns {push is CallPush} */
function isCallPush(push) {
  return push.type.startsWith("call.");
}
