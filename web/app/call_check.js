/** The dialog of the test before a call: each finding as it comes, in words. */

/** @import { CallTestReport, CallTestStep, Duologue } from "../duologue.js" */
/** @import { Probe } from "../duologue/call_test.js" */

import { deviceProblem } from "./call_words.js";
import { openDialog } from "./dialog.js";
import { el, fill, icon } from "./dom.js";

/** @typedef {"works" | "fails" | "so-so"} Verdict */

const PROBES = {
  relay: "answers",
  reflexive: "answers",
  refused: "refuses the credentials",
  unreachable: "cannot be reached",
  timeout: "does not answer",
};

/** @param {Duologue} chat */
export function openCheck(chat) {
  const list = el("ul", { class: "findings", "aria-live": "polite" });
  const picture = el("video", {
    class: "preview",
    autoplay: true,
    playsinline: true,
    "aria-label": "Your camera",
    hidden: true,
  });
  picture.muted = true;
  const verdict = el("p", { class: "verdict", role: "status" }, "Testing…");
  const stopping = new AbortController();
  const again = el("button", { class: "primary", type: "button", disabled: true }, "Test again");
  const run = async () => {
    fill(list);
    verdict.textContent = "Testing…";
    again.disabled = true;
    try {
      const report = await chat.calls.test((step) => show(step), { signal: stopping.signal });
      verdict.textContent = conclusion(report);
    } catch {
      list.append(finding("fails", "The server does not answer. Try again when you are connected."));
      verdict.textContent = "The test could not be made.";
    }
    picture.hidden = true;
    again.disabled = false;
  };
  /** @param {CallTestStep} step */
  const show = (step) => {
    if (step.step === "devices") {
      picture.srcObject = step.local.stream;
      picture.hidden = step.devices.camera !== "works";
    }
    list.append(...findings(step));
  };
  again.addEventListener("click", () => void run());
  const content = [picture, list, verdict, again];
  const dialog = openDialog({ id: "check", title: "Test camera, sound and connection", kind: "check", content });
  dialog.addEventListener("close", () => stopping.abort());
  void run();
}

/** @param {CallTestStep} step */
function findings(step) {
  switch (step.step) {
    case "server":
      return [finding(step.ms < 400 ? "works" : "so-so", `The server answers in ${step.ms} ms`)];
    case "devices": {
      const { microphone, camera } = step.devices;
      return [
        microphone === "works"
          ? finding("works", "The microphone works")
          : finding("fails", deviceProblem("audio", microphone)),
        camera === "works" ? finding("works", "The camera works") : finding("so-so", deviceProblem("video", camera)),
      ];
    }
    case "probe":
      return [probed(step)];
    default:
      if (!step.works)
        return [finding("fails", "Nothing passes through a relay: calls may fail behind strict firewalls")];
      return [
        finding(
          (step.rtt_ms ?? 0) < 300 && (step.loss ?? 0) < 0.05 ? "works" : "so-so",
          `Through the relay: ${step.rtt_ms} ms there and back, ${Math.round((step.loss ?? 0) * 100)} % lost, ${speed(step.kbps ?? 0)}`,
        ),
      ];
  }
}

/** @param {Probe} probe */
function probed({ url, result, ms }) {
  const works = result === "relay" || result === "reflexive";
  return finding(works ? "works" : "fails", `${url} ${PROBES[result]}${works ? ` in ${ms} ms` : ""}`);
}

/** @param {CallTestReport} report */
function conclusion({ ready, probes, devices, loop }) {
  if (ready) return "Ready for calls.";
  if (devices.microphone !== "works") return "Others will not hear you. You can still listen.";
  if (!probes.length) return "No relay is set up here: calls work in one network, and through some firewalls.";
  return loop.works ? "Ready for calls." : "Calls may not work from where you are.";
}

/** @param {number} kbps */
function speed(kbps) {
  return kbps >= 1000 ? `${(kbps / 1000).toFixed(1)} Mbit/s` : `${kbps} kbit/s`;
}

/** @param {Verdict} verdict @param {string} text */
function finding(verdict, text) {
  const pictures = /** @type {const} */ ({
    works: ["sent", "Works"],
    fails: ["failed", "Problem"],
    "so-so": ["failed", "Note"],
  });
  const [name, label] = pictures[verdict];
  return el("li", { "data-verdict": verdict }, icon(name, label), el("span", {}, text));
}
