"""What a prompt asks to be drawn: which shapes, of which colours, on which background."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demo import colours, shapes

NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
SIZES = {
    **dict.fromkeys(("tiny", "small", "little"), 0.55),
    **dict.fromkeys(("big", "large", "huge"), 1.3),
}
MOST_THINGS = 24
BACKGROUNDS = ("white", "black", "gray")  # the first that no shape has, where none is named


@dataclass(frozen=True)
class Thing:
    """A shape to draw; an empty colour or kind is for the one who draws to choose."""

    colour: str
    kind: str
    size: float = 1.0


@dataclass(frozen=True)
class Scene:
    """All that is to be drawn."""

    things: tuple[Thing, ...]
    background: str


def words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case."""
    return re.findall(r"[^\W\d_]+|\d+", text.lower())


def parse(prompt: str, *, without: str = "") -> Scene:
    """Read a prompt; what `without` names is left out."""
    background, rest = _take_background(words(prompt))
    is_plain = not any(colours.named(word) or shapes.named(word) for word in rest)
    things = tuple(map(_of_word, rest[:5])) if is_plain else tuple(_things(rest))
    unwanted = set(words(without))
    kept = tuple(
        each
        for each in things
        if not any(colours.named(w) == each.colour != "" for w in unwanted)
        and not any(shapes.named(w) == each.kind != "" for w in unwanted)
    )
    used = {each.colour for each in kept}
    usual = next(name for name in BACKGROUNDS if name not in used or name == BACKGROUNDS[-1])
    return Scene(things=kept[:MOST_THINGS], background=background or usual)


def _take_background(tokens: Sequence[str]) -> tuple[str, list[str]]:
    """The colour before the word "background", and the other words."""
    for at, word in enumerate(tokens):
        if word == "background" and at and (colour := colours.named(tokens[at - 1])):
            return colour, [*tokens[: at - 1], *tokens[at + 1 :]]
    return "", list(tokens)


def _things(tokens: Sequence[str]) -> Iterator[Thing]:
    """What the words name, from left to right: number, size and colours stand before the shape."""
    count, size, named = 1, 1.0, list[str]()
    for word in tokens:
        if word in SIZES:
            size = SIZES[word]
        elif word in NUMBERS or word.isdecimal():
            count = min(int(word) if word.isdecimal() else NUMBERS.index(word), MOST_THINGS)
        elif colour := colours.named(word):
            named.append(colour)
        elif kind := shapes.named(word):
            yield from _several(count, named, kind, size)
            count, size, named = 1, 1.0, []
    if named:
        yield from _several(count, named, "", size)


def _several(count: int, named: Sequence[str], kind: str, size: float) -> Iterator[Thing]:
    """So many of a kind; of several colours each has its share."""
    for colour in named or [""]:
        for _ in range(max(1, count // len(named)) if named and count else count):
            yield Thing(colour, kind, size)


def _of_word(word: str) -> Thing:
    """Some shape for a word that means none: the same word, the same shape."""
    number = zlib.crc32(word.encode())
    colour = colours.NAMES[number % 9]
    return Thing(colour, shapes.KINDS[number // 9 % len(shapes.KINDS)])
