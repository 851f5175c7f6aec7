/**
 * Duologue's client for browsers: plain ES modules, no dependency, no build step.
 *
 *     import { Duologue } from "/duologue.js";
 *
 *     const chat = new Duologue({ url: "wss://chat.example/ws", token: () => fetchTokenFromYourBackend() });
 *     chat.on("message", ({ match, sender, body }) => show(match, sender, body.text));
 *     chat.connect();
 *     await chat.send("m1", "Hello");
 *
 * Serve this file and the folder `duologue/` beside it from your own origin.
 */

export { Call } from "./duologue/call.js";
export { LocalMedia } from "./duologue/call_media.js";
export { Calls } from "./duologue/calls.js";
export { Duologue } from "./duologue/client.js";
export { uuid7 } from "./duologue/ids.js";
export { comesBack, DuologueError } from "./duologue/protocol.js";
export { IndexedDbStorage, MemoryStorage, openStorage } from "./duologue/storage.js";

/** @typedef {import("./duologue/client.js").DuologueOptions} DuologueOptions */
/** @typedef {import("./duologue/client.js").DuologueEvents} DuologueEvents */
/** @typedef {import("./duologue/client.js").MatchView} MatchView */
/** @typedef {import("./duologue/call.js").CallState} CallState */
/** @typedef {import("./duologue/call.js").CallEnd} CallEnd */
/** @typedef {import("./duologue/call.js").Participant} Participant */
/** @typedef {import("./duologue/call_test.js").CallTestReport} CallTestReport */
/** @typedef {import("./duologue/call_test.js").CallTestStep} CallTestStep */
/** @typedef {import("./duologue/calls.js").Incoming} Incoming */
/** @typedef {import("./duologue/calls.js").OngoingCall} OngoingCall */
/** @typedef {import("./duologue/protocol.js").CallEntry} CallEntry */
/** @typedef {import("./duologue/connection.js").Status} Status */
/** @typedef {import("./duologue/myself.js").ClientState} ClientState */
/** @typedef {import("./duologue/myself.js").PresenceWish} PresenceWish */
/** @typedef {import("./duologue/outbox.js").OutboxChange} OutboxChange */
/** @typedef {import("./duologue/protocol.js").Body} Body */
/** @typedef {import("./duologue/protocol.js").Entry} Entry */
/** @typedef {import("./duologue/protocol.js").MessageEntry} MessageEntry */
/** @typedef {import("./duologue/protocol.js").OwnPresence} OwnPresence */
/** @typedef {import("./duologue/protocol.js").Presence} Presence */
/** @typedef {import("./duologue/protocol.js").TypingKind} TypingKind */
/** @typedef {import("./duologue/storage.js").OutboxItem} OutboxItem */
/** @typedef {import("./duologue/storage.js").Storage} Storage */
