"""Word-by-word translation from a dictionary; what it does not have stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from demo.tensors import BadInput

LANGUAGES = {"en": "english", "fr": "french", "de": "german", "es": "spanish"}
LONGEST = 4  # words of an entry
TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*|\s+|[^\w\s]+")
ENDS = (".", "!", "?", "¿", "¡", ":")


class Dictionary:
    """The entries of each language, and what they are in every other."""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        self._entries: dict[str, dict[str, Mapping[str, str]]] = {each: {} for each in LANGUAGES}
        for row in rows:
            for language in LANGUAGES:  # of several rows for a word the first counts
                self._entries[language].setdefault(row[language].lower(), row)

    def __repr__(self) -> str:
        return f"<Dictionary of {len(self._entries['en'])} entries>"

    @classmethod
    def read(cls, path: Path) -> Dictionary:
        """Read a table with a column for each language."""
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        columns = head.split("\t")
        return cls([dict(zip(columns, line.split("\t"), strict=True)) for line in lines])

    def translate(self, text: str, source: str, target: str) -> str:
        """Translate; a language is a code or its English name."""
        entries, to = self._entries[code("source_lang", source)], code("target_lang", target)
        tokens: list[str] = TOKEN.findall(text)
        parts, at, is_first = list[str](), 0, True
        while at < len(tokens):
            used, found = _longest(tokens, at, entries)
            part = _cased(tokens[at], found[to], is_first=is_first) if found else tokens[at]
            parts.append(part)
            if not tokens[at].isspace():
                is_first = tokens[at + used - 1].startswith(ENDS)
            at += used
        return "".join(parts)


def code(field: str, language: str) -> str:
    """The code of a language; BadInput for one that the dictionary does not have."""
    word = language.strip().lower()
    for short, name in LANGUAGES.items():
        if word == name or re.split("[-_]", word)[0] == short:
            return short
    known = ", ".join(f"{short} ({name})" for short, name in LANGUAGES.items())
    raise BadInput(f"{field}: one of {known}, not {language!r}")


def _longest(
    tokens: list[str], at: int, entries: Mapping[str, Mapping[str, str]]
) -> tuple[int, Mapping[str, str]]:
    """How many tokens the longest entry here takes, and the entry; else one, and none."""
    for used in range(2 * LONGEST - 1, 0, -2):  # words with white space in between
        some = tokens[at : at + used]
        if len(some) == used and all(each.isspace() for each in some[1::2]):
            phrase = " ".join(each.lower().replace("\u2019", "'") for each in some[::2])
            if phrase in entries:
                return used, entries[phrase]
    return 1, {}


def _cased(source: str, word: str, *, is_first: bool) -> str:
    """The word as large as it was, where that is not the other language's custom."""
    if source.isupper() and len(source) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if is_first and source[0].isupper() else word
