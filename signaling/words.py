"""A short authentication string: words that two people read to each other to know that nobody stands between them.

Media between two browsers are encrypted by keys whose fingerprints travel through the server. A server that lies could give
each side its own. Both clients make these words from the descriptions that their connections really use; if somebody
stands between, the two see different words.

Recipe, the same in every client (`web/duologue/call_words.js`; a test runs both): of each side's SDP all fingerprints, in
lower case, each once, sorted, joined by a blank; both sides sorted, joined by a line feed: the password of
PBKDF2-HMAC-SHA-256 with the salt and the rounds below. Each of the 8 bytes that come out, modulo 64, chooses a word. A liar
would have to find two keys whose words agree while the call is set up: about 2^24 pairs, each worth all the rounds.

The server never computes them: whoever could be lied to must.
"""

import re
from collections.abc import Iterable
from hashlib import pbkdf2_hmac
from typing import Final

WORDS_SHOWN: Final = 8
ROUNDS: Final = 200_000
SALT: Final = b"duologue call words v1"

# The list of the Matrix specification (11.12.2.2.5): pictures that stay apart when small, and when said.
_PICTURES: Final = (
    "🐶 dog|🐱 cat|🦁 lion|🐎 horse|🦄 unicorn|🐷 pig|🐘 elephant|🐰 rabbit|🐼 panda|🐓 rooster|🐧 penguin|🐢 turtle|"
    "🐟 fish|🐙 octopus|🦋 butterfly|🌷 flower|🌳 tree|🌵 cactus|🍄 mushroom|🌏 globe|🌙 moon|☁️ cloud|🔥 fire|"
    "🍌 banana|🍎 apple|🍓 strawberry|🌽 corn|🍕 pizza|🎂 cake|❤️ heart|😀 smiley|🤖 robot|🎩 hat|👓 glasses|"
    "🔧 spanner|🎅 santa|👍 thumbs up|☂️ umbrella|⌛ hourglass|⏰ clock|🎁 gift|💡 light bulb|📕 book|✏️ pencil|"
    "📎 paperclip|✂️ scissors|🔒 lock|🔑 key|🔨 hammer|☎️ telephone|🏁 flag|🚂 train|🚲 bicycle|✈️ aeroplane|"
    "🚀 rocket|🏆 trophy|⚽ ball|🎸 guitar|🎺 trumpet|🔔 bell|⚓ anchor|🎧 headphones|📁 folder|📌 pin"
)
PICTURES: Final = tuple(_PICTURES.split("|"))
_fingerprints: Final = re.compile(r"^a=fingerprint:(\S+ \S+)", re.MULTILINE).findall


def words_of(mine: str, theirs: str) -> tuple[str, ...]:
    """Return the words for two descriptions, each a picture and its name; for tests of clients."""
    password = "\n".join(sorted((_told(_fingerprints(mine)), _told(_fingerprints(theirs))))).encode()
    key = pbkdf2_hmac("sha256", password, SALT, ROUNDS, WORDS_SHOWN)
    return tuple(PICTURES[byte % len(PICTURES)] for byte in key)


def _told(fingerprints: Iterable[str]) -> str:
    return " ".join(sorted({fingerprint.lower() for fingerprint in fingerprints}))
