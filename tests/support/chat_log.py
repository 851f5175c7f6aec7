"""Chat logs as text, one line a message: `[HH:MM] <nick> text`. Reads them, and made the sample in tests/data.

python -m tests.support.chat_log > tests/data/sample-chat.txt
"""

import random
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_MESSAGE: Final = re.compile(r"\[\d\d:\d\d\]  ?(?:<([^>]+)> ?|\* (\S+) ?)(.*)")
# What a message may not hold; chats of old have colours and a backspace in them.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

LINES: Final = 300
NICKS: Final = (
    "alfred_",
    "wsgordon",
    "Кирилл",
    "小明",
    "zoë",
    "pb|away",
    "`tick`",
    "n0rd-",
    "Ümit",
    "[bot]",
    "a",
    "jim_p__",
)
SENTENCE: Final = (
    "yes no maybe the a is it not sudo apt-get install kernel 2.6.22-14 reboot why does my screen go black when I close the"
    " lid thanks lol :-) ok http://paste.example/3f9a#L12 café naïve привет как дела 你好 谢谢 ありがとう 👍 👩🏽‍💻 e\u0301 \u202eabc\u202c ﷽"
    " <b>bold</b> C:\\temp \"quoted\" 'single' 100% {json:1} -> != && | $HOME ~/.bashrc ---"
)


class Line(NamedTuple):
    """One message of a log."""

    nick: str
    text: str


def read(text: str) -> list[Line]:
    """Return the messages in order; joins, parts and empty ones are left out, control characters too."""
    found = (_MESSAGE.fullmatch(line) for line in text.split("\n"))
    lines = (Line(match[1] or match[2], _CONTROL.sub("", match[3])) for match in found if match is not None)
    return [line for line in lines if line.text]


def sample(chance: random.Random) -> Iterator[str]:
    """Invent a log: short lines mostly, a few long ones, bursts of one speaker, comers and goers."""
    nick, vocabulary = NICKS[0], SENTENCE.split()
    for number in range(LINES):
        minute = f"[{8 + number // 120:02}:{number // 2 % 60:02}]"
        if chance.random() < 0.05:
            yield f"=== {chance.choice(NICKS)} [n=user@host.example] has joined #sample"
        nick = nick if chance.random() < 0.3 else chance.choice(NICKS)
        words = chance.choices(vocabulary, k=max(1, int(chance.lognormvariate(2.0, 0.9))))
        yield (
            f"{minute}  * {nick} {' '.join(words)}"
            if chance.random() < 0.03
            else f"{minute} <{nick}> {' '.join(words)}"
        )


if __name__ == "__main__":
    print("\n".join(sample(random.Random(1))))
