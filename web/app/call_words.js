/** What is said about calls: in the log, in the list, when one ends, when a device is refused. */

/** @import { CallEnd, CallEntry } from "../duologue.js" */
/** @import { LinkProblem } from "../duologue/call_link.js" */
/** @import { MediaProblem } from "../duologue/call_media.js" */

/** 3:42, or 1:02:05. @param {number} ms */
export function lengthOf(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  const rest = two(seconds % 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${rest}`;
}

/** The line of a call in the log, as this user sees it. @param {CallEntry} entry @param {string} me */
export function callTitle({ state, media, caller, duration_ms = 0 }, me) {
  const kind = media === "video" ? "Video call" : "Voice call";
  const mine = caller === me;
  switch (state) {
    case "completed":
      return `${kind}, ${lengthOf(duration_ms)}`;
    case "missed":
      return mine ? `${kind}, no answer` : `Missed ${kind.toLowerCase()}`;
    case "declined":
      return `${kind} declined`;
    case "busy":
      return mine ? `${kind}, busy` : `Missed ${kind.toLowerCase()}`;
    case "cancelled":
      return mine ? `${kind} cancelled` : `Missed ${kind.toLowerCase()}`;
    case "failed":
      return `${kind}, could not connect`;
    case "ongoing":
      return `${kind} in progress`;
    default:
      return mine ? `${kind}, calling…` : `Incoming ${kind.toLowerCase()}`;
  }
}

/** @type {Record<string, string>} */
const ENDS = {
  hangup: "Call ended",
  completed: "Call ended",
  cancelled: "Call cancelled",
  declined: "Call declined",
  busy: "They are in another call",
  no_answer: "No answer",
  unavailable: "They cannot be reached",
  answered_elsewhere: "Answered on another device",
  declined_elsewhere: "Declined on another device",
  ice_failed: "Could not connect",
  ice_timeout: "The connection was lost",
  media_failed: "Camera or microphone failed",
  signaling_lost: "The connection was lost",
  replaced: "The call was continued elsewhere",
  removed: "You are no longer in this conversation",
  max_duration: "The longest time for a call is over",
};

/** @param {CallEnd} end */
export function endTitle({ reason }) {
  return ENDS[reason] ?? "The call ended";
}

/** Why a start, an accept or a join was refused. @param {string} code */
export function refusal(code) {
  /** @type {Record<string, string>} */
  const words = {
    answered_elsewhere: "Answered on another device.",
    call_over: "This call is over.",
    call_full: "This call is full.",
    call_refused: "You cannot call here now.",
    no_relay: "Your calls go through a relay only, and this server has none. Tell whoever runs it.",
    in_other_call: "You are in another call.",
    offline: "No connection. Try again when it is back.",
    rate_limited: "Too many calls in a short time. Wait a little.",
    unavailable: "Calls are not possible at the moment. Try again.",
    not_member: "You are no longer in this conversation.",
    unknown_type: "This server does not do calls.",
  };
  return words[code] ?? "The call could not be started.";
}

/**
 * What to do about microphone, camera and screen; "" when all is well.
 * @param {Partial<Record<"audio" | "video" | "screen", MediaProblem>>} problems
 */
export function deviceProblems({ audio, video, screen }) {
  if (audio === "refused" && video === "refused") {
    return "Your microphone and camera are blocked. Allow them beside the address of this page, then press their buttons. You can stay and listen.";
  }
  if (audio) return deviceProblem("audio", audio);
  if (video) return deviceProblem("video", video);
  return screen ? deviceProblem("screen", screen) : "";
}

/** What to do about a device. @param {"audio" | "video" | "screen"} kind @param {MediaProblem} problem */
export function deviceProblem(kind, problem) {
  const name = { audio: "microphone", video: "camera", screen: "screen" }[kind];
  switch (problem) {
    case "refused":
      if (kind === "screen") return "The screen is not shared: your browser was not allowed to.";
      return `Your ${name} is blocked. Allow it beside the address of this page, then press the ${name} button. You can stay without.`;
    case "missing":
      return `No ${name} was found. Plug one in, then press the ${name} button. You can stay without.`;
    case "insecure":
      return `Browsers give the ${name} to secure pages (https) only. You can stay without.`;
    default:
      return `Your ${name} is used by another program. Close that, then press the ${name} button. You can stay without.`;
  }
}

/** What to do about a connection that does not come about. @param {LinkProblem} problem */
export function linkProblem({ code }) {
  if (code === "relay_refused")
    return "The relay refused the call: its credentials are wrong or have ended. Tell whoever runs this server.";
  if (code === "relay_unreachable") return "The relay does not answer. A firewall may be in the way.";
  return "No way to the other side was found yet.";
}
