"""Reads the files of `text/`."""

from __future__ import annotations

from pathlib import Path

TEXT = Path(__file__).parent / "text"


def _paragraphs(name: str) -> list[str]:
    text = (TEXT / name).read_text(encoding="utf-8")
    parts = [part.strip() for part in text.split("\n\n")]
    return [part for part in parts if part and not part.startswith("#")]


def _dialogues() -> list[tuple[list[str], str, str]]:
    result = []
    for paragraph in _paragraphs("dialogues.txt"):
        lines = [(line[:1], line[3:]) for line in paragraph.splitlines()]
        questions = [text for kind, text in lines if kind == "Q"]
        answer = next(text for kind, text in lines if kind == "A").replace("\\n", "\n")
        result.append((questions, answer, next(text for kind, text in lines if kind == "H")))
    return result


def _tables() -> dict[str, list[list[str]]]:
    return {
        section.split("]")[0].lstrip("["): [row.split("|") for row in section.splitlines()[1:]]
        for section in _paragraphs("tables.txt")
    }


PROSE = _paragraphs("prose.txt")
DIALOGUES = _dialogues()
TABLES = _tables()
