/**
 * The test before a call: is there a microphone, a camera, a server that answers, and a relay that relays?
 *
 * Every relay address is probed alone, with a limit of its own (Chromium takes 40 s to give up on a dead one), then two
 * connections inside this page talk to each other through the relay: what a call through a strict firewall will do.
 */

/** @import { IceAnswer } from "./call_types.js" */
/** @import { MediaProblem } from "./call_media.js" */

import { LocalMedia } from "./call_media.js";

/** @typedef {"relay" | "refused" | "unreachable" | "timeout" | "reflexive"} ProbeResult */
/** @typedef {{url: string, result: ProbeResult, ms: number}} Probe */
/** @typedef {{works: boolean, rtt_ms?: number, loss?: number, kbps?: number}} Loop */
/**
 * @typedef {object} CallTestReport
 * @property {{ms: number} | undefined} server How long the server took to answer.
 * @property {{microphone: MediaProblem | "works", camera: MediaProblem | "works"}} devices
 * @property {Probe[]} probes
 * @property {Loop} loop
 * @property {boolean} ready A call will work, behind a strict firewall too.
 */
/**
 * @typedef {{step: "server", ms: number}
 *   | {step: "devices", devices: CallTestReport["devices"], local: LocalMedia}
 *   | ({step: "probe"} & Probe)
 *   | ({step: "loop"} & Loop)} CallTestStep
 */
/**
 * @typedef {object} CallTestOptions
 * @property {<Answer>(message: {type: string} & Record<string, unknown>) => Promise<Answer>} request
 * @property {(config: RTCConfiguration) => RTCPeerConnection} connect
 * @property {(step: CallTestStep) => void} told
 * @property {AbortSignal} [signal]
 */

const PROBE_MS = 5_000;
const LOOP_MS = 8_000;
const ECHOES = 10;
const FLOOD_MS = 1_000;
const CHUNK_BYTES = 8_192;
const BUFFER_BYTES = 262_144;

/** @param {CallTestOptions} options @returns {Promise<CallTestReport>} */
export async function runCallTest({ request, connect, told, signal }) {
  const local = new LocalMedia();
  signal?.addEventListener("abort", () => local.close());
  try {
    const asked = performance.now();
    /** @type {IceAnswer} */
    const { ice_servers } = await request({ type: "call.ice" });
    const server = { ms: Math.round(performance.now() - asked) };
    told({ step: "server", ...server });
    await local.open({ audio: true, video: true });
    /** @type {CallTestReport["devices"]} */
    const devices = { microphone: local.problems.audio ?? "works", camera: local.problems.video ?? "works" };
    told({ step: "devices", devices, local });
    const probes = await Promise.all(eachUrl(ice_servers).map((one) => probe(connect, one)));
    for (const each of probes) told({ step: "probe", ...each });
    const works = probes.some(({ result }) => result === "relay");
    const relays = ice_servers.filter(({ urls }) => [urls].flat().some((url) => url.startsWith("turn")));
    const loop = works && !signal?.aborted ? await relayLoop(connect, relays) : { works: false };
    told({ step: "loop", ...loop });
    const heard = devices.microphone === "works";
    return { server, devices, probes, loop, ready: loop.works && heard };
  } finally {
    local.close();
  }
}

/** One entry for each address. @param {RTCIceServer[]} servers @returns {(RTCIceServer & {urls: string})[]} */
function eachUrl(servers) {
  return servers.flatMap((server) => [server.urls].flat().map((url) => ({ ...server, urls: url })));
}

/**
 * Ask one server for a candidate.
 * @param {(config: RTCConfiguration) => RTCPeerConnection} connect
 * @param {RTCIceServer & {urls: string}} server
 * @returns {Promise<Probe>}
 */
async function probe(connect, server) {
  const relays = server.urls.startsWith("turn");
  const pc = connect({ iceServers: [server], iceTransportPolicy: relays ? "relay" : "all" });
  const began = performance.now();
  pc.createDataChannel("probe");
  /** @type {ProbeResult} */
  const result = await new Promise((resolve) => {
    const timer = setTimeout(() => resolve("timeout"), PROBE_MS);
    const settle = (/** @type {ProbeResult} */ found) => {
      clearTimeout(timer);
      resolve(found);
    };
    /** @type {ProbeResult} */
    let failure = "unreachable";
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.type === "relay") settle("relay");
      if (candidate?.type === "srflx" && !relays) settle("reflexive");
      if (candidate === null) settle(failure);
    };
    // One interface may fail where another succeeds, so wait for the end of gathering.
    pc.onicecandidateerror = ({ errorCode }) => {
      if (errorCode >= 400 && errorCode < 500) failure = "refused";
    };
    void pc.setLocalDescription();
  });
  pc.close();
  return { url: server.urls, result, ms: Math.round(performance.now() - began) };
}

/**
 * Two ends in this page, with nothing but the relay between them.
 * @param {(config: RTCConfiguration) => RTCPeerConnection} connect
 * @param {RTCIceServer[]} iceServers
 * @returns {Promise<Loop>}
 */
async function relayLoop(connect, iceServers) {
  const here = connect({ iceServers, iceTransportPolicy: "relay" });
  const there = connect({ iceServers, iceTransportPolicy: "relay" });
  here.onicecandidate = ({ candidate }) => void there.addIceCandidate(candidate ?? undefined).catch(() => {});
  there.onicecandidate = ({ candidate }) => void here.addIceCandidate(candidate ?? undefined).catch(() => {});
  // Like media: no order, nothing sent again.
  const channel = here.createDataChannel("loop", { ordered: false, maxRetransmits: 0 });
  let received = 0;
  there.ondatachannel = ({ channel: far }) => {
    far.binaryType = "arraybuffer";
    far.onmessage = ({ data }) => {
      if (typeof data === "string") far.send(data);
      else received += data.byteLength;
    };
  };
  try {
    await here.setLocalDescription();
    if (here.localDescription) await there.setRemoteDescription(here.localDescription);
    await there.setLocalDescription();
    if (there.localDescription) await here.setRemoteDescription(there.localDescription);
    await within(LOOP_MS, (done) => {
      channel.onopen = () => done(undefined);
    });
    const trips = await echoes(channel);
    const kbps = await flood(channel, () => received);
    if (!trips.length) return { works: false };
    const rtt_ms = Math.round(trips.sort((a, b) => a - b)[trips.length >> 1] ?? 0);
    return { works: true, rtt_ms, loss: Math.round((1 - trips.length / ECHOES) * 100) / 100, kbps };
  } catch {
    return { works: false };
  } finally {
    here.close();
    there.close();
  }
}

/** Times there and back, in milliseconds, of those that came back. @param {RTCDataChannel} channel @returns {Promise<number[]>} */
async function echoes(channel) {
  /** @type {number[]} */
  const trips = [];
  for (let number = 0; number < ECHOES; number += 1) {
    const sent = performance.now();
    await within(1_000, (done) => {
      channel.onmessage = ({ data }) => data === String(number) && done(undefined);
      channel.send(String(number));
    }).then(
      () => trips.push(performance.now() - sent),
      () => {},
    );
  }
  return trips;
}

/** Send as fast as the way takes it; what came through, in kbit/s. @param {RTCDataChannel} channel @param {() => number} received */
async function flood(channel, received) {
  const chunk = new Uint8Array(CHUNK_BYTES);
  const [began, before] = [performance.now(), received()];
  while (performance.now() - began < FLOOD_MS && channel.readyState === "open") {
    for (let burst = 0; burst < 8 && channel.bufferedAmount < BUFFER_BYTES; burst += 1) channel.send(chunk);
    await new Promise((resume) => setTimeout(resume, 5));
  }
  return Math.round(((received() - before) * 8) / (performance.now() - began));
}

/**
 * @template Result
 * @param {number} ms
 * @param {(done: (result: Result) => void) => void} work
 * @returns {Promise<Result>}
 */
function within(ms, work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("timeout")), ms);
    work((result) => {
      clearTimeout(timer);
      resolve(result);
    });
  });
}
