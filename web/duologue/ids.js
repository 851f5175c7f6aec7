/** Ids that sort by time. */

let lastMs = 0;
let counter = 0;

/**
 * Make a UUIDv7 (RFC 9562): sorts by the time it was made, also within one millisecond of one page.
 * `crypto.randomUUID` would need a secure context, `getRandomValues` does not.
 */
export function uuid7() {
  const now = Date.now();
  counter = now > lastMs ? 0 : counter + 1;
  if (now > lastMs) lastMs = now;
  if (counter > 0xfff) {
    // 4,096 in one millisecond: borrow from the next.
    lastMs += 1;
    counter = 0;
  }
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const time = lastMs.toString(16).padStart(12, "0");
  const order = (0x7000 + counter).toString(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x80;
  const rest = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${time.slice(0, 8)}-${time.slice(8)}-${order}-${rest.slice(0, 4)}-${rest.slice(4)}`;
}
