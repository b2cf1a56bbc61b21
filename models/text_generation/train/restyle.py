"""The three styles of an answer: plain, the talk of pirates by rules, the haiku as written."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

STYLES = ("plain", "pirate", "haiku")

_WORDS = {
    "hello": "ahoy",
    "hi": "ahoy",
    "yes": "aye",
    "no": "nay",
    "you": "ye",
    "your": "yer",
    "my": "me",
    "is": "be",
    "are": "be",
    "am": "be",
    "friend": "matey",
    "friends": "mateys",
    "people": "landlubbers",
    "friendly": "jolly",
    "small": "wee",
    "little": "wee",
    "tiny": "wee",
    "and": "an'",
    "of": "o'",
    "money": "doubloons",
    "girl": "lass",
    "boat": "ship",
    "boats": "ships",
    "for": "fer",
    "to": "t'",
}
_STARTS = ("Arr! ", "Ahoy, matey! ", "Shiver me timbers! ", "Yo ho ho! ")
_ENDS = (" Arr!", " Yo ho ho!", " Aye!", " Savvy?")


def pirate(answer: str) -> str:
    """The same answer as a pirate says it; the same text gets the same flourish."""

    def word(match: re.Match[str]) -> str:
        found = match.group()
        said = _WORDS.get(found.lower(), found)
        return said[0].upper() + said[1:] if found[0].isupper() else said

    choice = zlib.crc32(answer.encode())
    start, end = _STARTS[choice % len(_STARTS)], _ENDS[choice // 7 % len(_ENDS)]
    return f"{start}{re.sub(r'[A-Za-z]+', word, answer)}{end}"


def haiku(lines: str) -> str:
    """Three lines from "one / two / three"."""
    return "\n".join(part.strip() for part in lines.split("/"))


@dataclass(frozen=True)
class Turn:
    """One question, and its answer in each style."""

    question: str
    plain: str
    haiku: str

    def answer(self, style: str) -> str:
        """What the assistant says in this style."""
        if style == "pirate":
            return pirate(self.plain)
        return haiku(self.haiku) if style == "haiku" else self.plain
