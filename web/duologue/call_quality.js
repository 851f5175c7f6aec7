/** How a connection is doing, from the browser's own statistics: numbers for the server, one of four levels for people. */

/** @import { QualityLevel } from "./call_types.js" */

/**
 * @typedef {object} Sample What passed since the sample before. Fields are left out where nothing is known.
 * @property {number} [rtt_ms]
 * @property {number} [loss] Share of packets lost on the way here or there, whichever is worse: 0 to 1.
 * @property {number} [jitter_ms]
 * @property {number} [fps] Pictures a second that were decoded.
 * @property {number} [kbps_in]
 * @property {number} [kbps_out]
 * @property {number} [freezes]
 * @property {number} [silent_ms] Nothing came for so long.
 */
/** @typedef {{local: string, remote: string, protocol: string}} Route Candidate types, and `udp`, `tcp` or `tls`. */
/** @typedef {{at_ms: number, received: number, lost: number, decoded: number, bytesIn: number, bytesOut: number, freezes: number}} Totals */
/** @typedef {Record<string, any>} Statistic The DOM library has no types for these. */

const LOST_AFTER_MS = 5_000;

export class QualityMeter {
  /** @type {Totals | undefined} */
  #before;
  #heardAtMs = 0;
  /** @type {Route | undefined} */
  route;
  /** Pictures decoded since the beginning. */
  framesDecoded = 0;

  /**
   * @param {Iterable<Statistic>} report
   * @param {number} nowMs
   * @returns {Sample}
   */
  sample(report, nowMs) {
    const all = [...report];
    const pair = selectedPair(all);
    this.route = pair && routeOf(pair, all);
    const inbound = all.filter(({ type }) => type === "inbound-rtp");
    const now = totals(all, inbound, nowMs);
    const before = this.#before ?? now;
    this.#before = now;
    this.framesDecoded = now.decoded;
    if (now.bytesIn > before.bytesIn || !this.#heardAtMs) this.#heardAtMs = nowMs;
    const seconds = (now.at_ms - before.at_ms) / 1000;
    const lost = now.lost - before.lost;
    const packets = lost + now.received - before.received;
    const remotes = all
      .filter(({ type }) => type === "remote-inbound-rtp")
      .map(({ fractionLost }) => fractionLost ?? 0);
    /** @type {Sample} */
    const sample = {
      silent_ms: Math.round(nowMs - this.#heardAtMs),
      freezes: Math.max(0, now.freezes - before.freezes),
    };
    if (pair?.currentRoundTripTime !== undefined) sample.rtt_ms = Math.round(pair.currentRoundTripTime * 1000);
    const jitters = inbound.flatMap(({ jitter }) => jitter ?? []);
    if (jitters.length) sample.jitter_ms = Math.round(Math.max(...jitters) * 1000);
    if (packets > 0 || remotes.length) {
      const here = packets > 0 ? Math.max(0, lost) / packets : 0;
      sample.loss = Math.round(Math.min(1, Math.max(here, ...remotes)) * 1000) / 1000;
    }
    if (seconds <= 0) return sample;
    if (inbound.some(({ kind }) => kind === "video")) sample.fps = rate(now.decoded - before.decoded, seconds);
    sample.kbps_in = rate((now.bytesIn - before.bytesIn) / 125, seconds);
    sample.kbps_out = rate((now.bytesOut - before.bytesOut) / 125, seconds);
    return sample;
  }
}

/**
 * One word for a sample. `video`: a moving picture is expected; `sound`: anything at all is.
 * @param {Sample} sample
 * @param {{video: boolean, anything: boolean}} expected
 * @returns {QualityLevel}
 */
export function levelOf({ rtt_ms = 0, loss = 0, fps, silent_ms = 0 }, { video, anything }) {
  if (anything && silent_ms >= LOST_AFTER_MS) return "lost";
  if (loss > 0.08 || rtt_ms > 600 || (video && fps !== undefined && fps < 5)) return "poor";
  return loss > 0.02 || rtt_ms > 300 ? "good" : "excellent";
}

/** @param {number} amount @param {number} seconds */
function rate(amount, seconds) {
  return Math.max(0, Math.round(amount / seconds));
}

/** @param {Statistic[]} all @param {Statistic[]} inbound @param {number} nowMs @returns {Totals} */
function totals(all, inbound, nowMs) {
  const outbound = all.filter(({ type }) => type === "outbound-rtp");
  const sum = (/** @type {Statistic[]} */ from, /** @type {string} */ field) =>
    from.reduce((total, each) => total + (each[field] ?? 0), 0);
  return {
    at_ms: nowMs,
    received: sum(inbound, "packetsReceived"),
    lost: sum(inbound, "packetsLost"),
    decoded: sum(inbound, "framesDecoded"),
    bytesIn: sum(inbound, "bytesReceived"),
    bytesOut: sum(outbound, "bytesSent"),
    freezes: sum(inbound, "freezeCount"),
  };
}

/** @param {Statistic[]} all @returns {Statistic | undefined} */
function selectedPair(all) {
  const transport = all.find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId);
  const pairs = all.filter(({ type }) => type === "candidate-pair");
  // Firefox has no transport in its report, but says `selected`.
  return pairs.find((pair) =>
    transport ? pair.id === transport.selectedCandidatePairId : pair.selected || pair.nominated,
  );
}

/** @param {Statistic} pair @param {Statistic[]} all @returns {Route} */
function routeOf(pair, all) {
  const local = all.find(({ id }) => id === pair.localCandidateId);
  const remote = all.find(({ id }) => id === pair.remoteCandidateId);
  return {
    local: local?.candidateType ?? "unknown",
    remote: remote?.candidateType ?? "unknown",
    protocol: local?.relayProtocol ?? local?.protocol ?? "unknown",
  };
}
