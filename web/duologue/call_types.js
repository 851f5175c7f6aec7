/** The words of calls on the wire, as types; `docs/protocol.md` is the normative text. */

/** @typedef {"audio" | "video"} CallKind */
/** @typedef {{audio: boolean, video: boolean, screen: boolean}} MediaState What someone sends now. */
/** @typedef {"excellent" | "good" | "poor" | "lost"} QualityLevel */

/**
 * @typedef {object} PeerInfo One participant's seat. `initiator` and `polite` are this client's own part towards it.
 * @property {string} peer
 * @property {string} user
 * @property {boolean} initiator This client makes the first offer.
 * @property {boolean} polite This client gives way when both offer at once.
 * @property {MediaState} media
 * @property {"ok" | "reconnecting"} state
 */
/**
 * @typedef {object} CallSeat The answer to start, accept, join and resume.
 * @property {string} call
 * @property {string} match
 * @property {string} peer This client's own seat.
 * @property {"all" | "relay"} policy
 * @property {string} caller
 * @property {CallKind} media
 * @property {"ring" | "prompt"} mode
 * @property {"ringing" | "connecting" | "active" | "reconnecting" | "ended"} state
 * @property {number} started_at
 * @property {number} [answered_at]
 * @property {PeerInfo[]} peers The others.
 * @property {string[]} ringing Users who are being rung.
 * @property {boolean} [glare] Both called at once: this start became an accept.
 */
/**
 * @typedef {object} IncomingPush
 * @property {"call.incoming"} type
 * @property {string} call
 * @property {string} match
 * @property {string} caller
 * @property {CallKind} media
 * @property {"ring" | "prompt"} mode
 * @property {number} age_ms
 * @property {number} expires_in_ms
 * @property {boolean} [in_call] This user is in another call.
 * @property {string[]} joined Who is in it already.
 */
/**
 * @typedef {object} SnapshotPush A call that this client could join, take over, or is in.
 * @property {"call.snapshot"} type
 * @property {string} call
 * @property {string} match
 * @property {string} caller
 * @property {CallKind} media
 * @property {"ring" | "prompt"} mode
 * @property {"ringing" | "connecting" | "active" | "reconnecting" | "ended"} state
 * @property {number} started_at
 * @property {{peer: string, user: string}[]} peers
 * @property {string[]} ringing
 */
/**
 * @typedef {object} Signal What travels between two seats besides `call`, `to` or `peer`, and `n`.
 * @property {{type: "offer" | "answer", sdp: string}} [description]
 * @property {RTCIceCandidateInit[]} [candidates]
 * @property {boolean} [end_of_candidates]
 * @property {Record<string, "camera" | "screen">} [streams] What the media streams of the description show, by msid.
 */
/** @typedef {Signal & {type: "call.signal", call: string, peer: string, n: number}} SignalPush */
/**
 * @typedef {IncomingPush
 *   | SnapshotPush
 *   | SignalPush
 *   | {type: "call.ringing", call: string, user: string, reason?: string}
 *   | {type: "call.joined", call: string, match: string}
 *   | {type: "call.peer_joined", call: string, peer: PeerInfo}
 *   | {type: "call.peer_left", call: string, peer: string, user: string, reason: string}
 *   | {type: "call.peer_state", call: string, peer: string, state: "ok" | "reconnecting", have?: number | null}
 *   | {type: "call.media", call: string, peer: string, media: MediaState}
 *   | {type: "call.quality", call: string, peer: string, level: QualityLevel}
 *   | {type: "call.cancelled", call: string, reason: string}
 *   | {type: "call.ended", call: string, reason: string, by?: string, duration_ms?: number}} CallPush
 */
/**
 * @typedef {object} IceAnswer
 * @property {RTCIceServer[]} ice_servers
 * @property {number} ttl_s
 * @property {number} expires_at
 * @property {boolean} [degraded] The relay provider could not be reached: relaying may not work.
 */

export {};
