/**
 * The sounds of a call, made of tones: no file to fetch. Browsers let a page sound only after it was touched; until then
 * it rings silently, and begins to sound with the first touch.
 */

/** @typedef {"incoming" | "outgoing" | "end"} Tune */
/** @typedef {{at: number, hz: number, s: number, volume: number}} Note */

/** @type {Record<Tune, {notes: Note[], everyS: number}>} */
const TUNES = {
  incoming: {
    notes: [659.3, 830.6, 987.8, 830.6, 659.3, 987.8].map((hz, index) => ({
      at: index * 0.16,
      hz,
      s: 0.34,
      volume: 0.2,
    })),
    everyS: 2.6,
  },
  outgoing: { notes: [{ at: 0, hz: 425, s: 1, volume: 0.06 }], everyS: 4 },
  end: { notes: [587.3, 440].map((hz, index) => ({ at: index * 0.14, hz, s: 0.22, volume: 0.1 })), everyS: 0 },
};
const BUZZ_MS = [220, 120, 220];

/** @type {AudioContext | undefined} */
let audio;

/** Play a tune, again and again where it is one that rings; returns what stops it. @param {Tune} tune */
export function ring(tune) {
  const { notes, everyS } = TUNES[tune];
  const stopping = new AbortController();
  const { signal } = stopping;
  const play = () => {
    const context = sounding();
    if (!context) return;
    const out = context.createGain();
    out.connect(context.destination);
    for (const note of notes) sound(context, out, note);
    signal.addEventListener("abort", () => out.disconnect());
    if (tune === "incoming") navigator.vibrate?.(BUZZ_MS);
  };
  play();
  if (!everyS) return () => {};
  const timer = setInterval(play, everyS * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
  return () => stopping.abort();
}

/** As `ring`, but only one tab of a browser makes the noise. @param {Tune} tune */
export function ringAlone(tune) {
  let stop = () => {};
  const stopping = new AbortController();
  const until = new Promise((resolve) => stopping.signal.addEventListener("abort", resolve));
  void navigator.locks?.request("duologue ring", { ifAvailable: true }, async (lock) => {
    if (!lock || stopping.signal.aborted) return;
    stop = ring(tune);
    await until;
  });
  return () => {
    stop();
    stopping.abort();
  };
}

/** None before the page was touched: asking earlier would only bring a warning to the console. */
function sounding() {
  if (navigator.userActivation?.hasBeenActive === false) return undefined;
  audio ??= new AudioContext();
  void audio.resume();
  return audio;
}

/** @param {AudioContext} context @param {AudioNode} out @param {Note} note */
function sound(context, out, { at, hz, s, volume }) {
  const begin = context.currentTime + at;
  const tone = context.createOscillator();
  const shape = context.createGain();
  tone.type = "sine";
  tone.frequency.value = hz;
  // A tone that starts or stops at once clicks.
  shape.gain.setValueAtTime(0, begin);
  shape.gain.linearRampToValueAtTime(volume, begin + 0.02);
  shape.gain.setValueAtTime(volume, begin + s - 0.08);
  shape.gain.linearRampToValueAtTime(0, begin + s);
  tone.connect(shape).connect(out);
  tone.start(begin);
  tone.stop(begin + s);
}
