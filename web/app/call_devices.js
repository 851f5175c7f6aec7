/** The dialog that chooses microphone, camera and loudspeaker. */

/** @import { LocalMedia } from "../duologue.js" */

import { openDialog } from "./dialog.js";
import { el, fill } from "./dom.js";

const NAMES = /** @type {const} */ ({ audio: "Microphone", video: "Camera", speaker: "Loudspeaker" });

/**
 * @param {LocalMedia} local
 * @param {(speaker: string) => void} listenWith
 */
export async function openDevices(local, listenWith) {
  const form = el("form", { method: "dialog" });
  const show = async () => {
    const devices = await local.devices();
    const kinds = /** @type {(keyof typeof NAMES)[]} */ (Object.keys(NAMES));
    fill(
      form,
      ...kinds.map((kind) => choice(local, kind, devices[kind], listenWith)),
      el("button", { class: "primary" }, "Done"),
    );
  };
  await show();
  const changed = () => void show();
  navigator.mediaDevices?.addEventListener("devicechange", changed);
  const dialog = openDialog({ id: "devices", title: "Devices", kind: "devices", content: [form] });
  dialog.addEventListener("close", () => navigator.mediaDevices?.removeEventListener("devicechange", changed));
}

/**
 * @param {LocalMedia} local
 * @param {keyof typeof NAMES} kind
 * @param {{id: string, label: string}[]} devices
 * @param {(speaker: string) => void} listenWith
 */
function choice(local, kind, devices, listenWith) {
  const id = `device-${kind}`;
  const select = el("select", { id, disabled: devices.length === 0 });
  const system = el("option", { value: "" }, devices.length ? "As the system says" : "None found");
  fill(select, system, ...devices.map((device) => el("option", { value: device.id }, device.label)));
  select.value = devices.some((device) => device.id === local.chosen[kind]) ? local.chosen[kind] : "";
  select.addEventListener("change", async () => {
    await local.choose(kind, select.value);
    if (kind === "speaker") listenWith(select.value);
  });
  return el("p", { class: "choice" }, el("label", { for: id }, NAMES[kind]), select);
}
