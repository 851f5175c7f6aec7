"""A short authentication string: words that two people read to each other to know that nobody stands between them.

Media between two browsers are encrypted by keys whose fingerprints travel through the server. A server that lies could give
each side its own. Both clients make these words from the two fingerprints that their connections really use (not those
that the signals said); if somebody stands between, the two see different words.

Recipe, the same in every client: the fingerprints of both sides as in the SDP ("sha-256 AB:CD:…", algorithm in lower case,
digits in upper case), sorted, joined by a line feed, are the password of PBKDF2-HMAC-SHA-256 with the salt
"duologue-sas-1:" and the call's id, 100,000 rounds; each of the 8 bytes that come out chooses a word. A liar would have to
find two keys whose words agree while the call is set up: 2^32 of these slow steps.

The server never computes them: whoever could be lied to must.
"""

from collections.abc import Iterable
from hashlib import pbkdf2_hmac
from typing import Final

from protocol.calls import CallId

WORDS_SHOWN: Final = 8
ROUNDS: Final = 100_000
SALT: Final = "duologue-sas-1:"

# 256 words, which differ within their first four letters. Their order is part of the recipe.
_WORDS: Final = (
    "alarm album alley amber anchor ankle apple april apron arena arrow artist atlas autumn bacon badge bagel baker "
    "balcony balloon bamboo banana banjo barrel basket beach beaver berry bicycle bishop blanket blossom bottle "
    "bridge bronze bucket buffalo butter cabin cactus camel canary candle canoe canyon captain caramel carbon carpet "
    "carrot castle cedar cellar cherry chess chimney cinema circus citrus clover cobra coconut coffee comet compass "
    "copper coral cotton cousin cowboy coyote cradle crater cricket crystal curtain daisy dancer dentist desert "
    "diamond dinner doctor dolphin donkey dragon drummer eagle easter eclipse elbow elephant engine falcon farmer "
    "feather fiddle finger flamingo forest fossil fountain galaxy gallery garden garlic gazelle ginger giraffe "
    "glacier goblet granite grape guitar hammer harbor hedgehog helmet heron hockey honey hotel indigo island ivory "
    "jacket jaguar jasmine jersey jockey jungle kettle kitchen kitten koala ladder lagoon lantern lemon leopard "
    "library lizard lobster lotus magnet mango maple marble market meadow medal melon mermaid meteor mirror monkey "
    "mosaic mustard napkin nickel nutmeg oasis ocean octopus olive onion opera orange orchid otter oyster paddle "
    "palace panda parrot peanut pebble pelican pencil pepper piano picnic pigeon pillow pilot planet pocket pony "
    "potato prairie puppet puzzle pyramid quartz rabbit raccoon radio rainbow raven ribbon river robin rocket rubber "
    "saddle safari salmon sandal satin saturn scarf school scooter shadow shovel silver sister sofa spider spinach "
    "squirrel stadium sugar summit sunset sweater teapot temple tennis theater thunder timber tomato tornado tower "
    "tractor trumpet tulip tunnel turtle umbrella valley vanilla velvet violin volcano waffle walnut walrus whistle "
    "willow window wizard yogurt zebra zipper "
)
WORDS: Final = tuple(_WORDS.split())


def short_words(call: CallId, fingerprints: Iterable[str]) -> tuple[str, ...]:
    """Return the words for a connection between two, each given by its fingerprint; for tests of clients."""
    password = "\n".join(sorted(map(_spelt_alike, fingerprints))).encode()
    key = pbkdf2_hmac("sha256", password, f"{SALT}{call}".encode(), ROUNDS, WORDS_SHOWN)
    return tuple(WORDS[byte] for byte in key)


def _spelt_alike(fingerprint: str) -> str:
    algorithm, _, digits = fingerprint.strip().partition(" ")
    return f"{algorithm.lower()} {digits.strip().upper()}"
