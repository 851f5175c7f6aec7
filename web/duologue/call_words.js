/**
 * Words that two people compare aloud to know that nobody sits between them, not even the server.
 *
 * They are made of the fingerprints of both ends' certificates, which media is encrypted against. Someone in between has
 * to show each side a certificate of their own, so the words differ; to make them equal they would have to search about
 * 2^24 pairs, each worth `ROUNDS` hashes, in the seconds in which a call is set up.
 */

const ROUNDS = 200_000;
const WORDS = 8;

/** 64 pictures that stay apart when small, and when said (the list of the Matrix specification, 11.12.2.2.5). */
const PICTURES = Object.freeze(
  (
    "🐶 dog|🐱 cat|🦁 lion|🐎 horse|🦄 unicorn|🐷 pig|🐘 elephant|🐰 rabbit|🐼 panda|🐓 rooster|🐧 penguin|🐢 turtle|" +
    "🐟 fish|🐙 octopus|🦋 butterfly|🌷 flower|🌳 tree|🌵 cactus|🍄 mushroom|🌏 globe|🌙 moon|☁️ cloud|🔥 fire|" +
    "🍌 banana|🍎 apple|🍓 strawberry|🌽 corn|🍕 pizza|🎂 cake|❤️ heart|😀 smiley|🤖 robot|🎩 hat|👓 glasses|" +
    "🔧 spanner|🎅 santa|👍 thumbs up|☂️ umbrella|⌛ hourglass|⏰ clock|🎁 gift|💡 light bulb|📕 book|✏️ pencil|" +
    "📎 paperclip|✂️ scissors|🔒 lock|🔑 key|🔨 hammer|☎️ telephone|🏁 flag|🚂 train|🚲 bicycle|✈️ aeroplane|" +
    "🚀 rocket|🏆 trophy|⚽ ball|🎸 guitar|🎺 trumpet|🔔 bell|⚓ anchor|🎧 headphones|📁 folder|📌 pin"
  ).split("|"),
);

/** @typedef {{picture: string, word: string}} Word */

/**
 * The words of a connection; both ends get the same. Undefined before both descriptions are there.
 * @param {string | undefined} mine Local SDP.
 * @param {string | undefined} theirs Remote SDP.
 * @returns {Promise<Word[] | undefined>}
 */
export async function wordsOf(mine, theirs) {
  const both = [fingerprint(mine), fingerprint(theirs)];
  if (both.some((each) => each === "")) return undefined;
  const text = new TextEncoder();
  const key = await crypto.subtle.importKey("raw", text.encode(both.sort().join("\n")), "PBKDF2", false, [
    "deriveBits",
  ]);
  const how = { name: "PBKDF2", hash: "SHA-256", salt: text.encode("duologue call words v1"), iterations: ROUNDS };
  const bytes = new Uint8Array(await crypto.subtle.deriveBits(how, key, WORDS * 8));
  return [...bytes].map((byte) => {
    const [picture = "", ...word] = (PICTURES[byte % PICTURES.length] ?? "").split(" ");
    return { picture, word: word.join(" ") };
  });
}

/** All fingerprints of a description, as one text: with one certificate they are equal, and told once. @param {string | undefined} sdp */
function fingerprint(sdp = "") {
  const found = [...sdp.matchAll(/^a=fingerprint:(\S+ \S+)/gm)].map(([, value = ""]) => value.toLowerCase());
  return [...new Set(found)].sort().join(" ");
}
