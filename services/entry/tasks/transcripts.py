"""Transcripts: words with their times become segments, and subtitles in WebVTT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

PAUSE_S: Final = 1.0  # of silence, after which a new segment begins
LONGEST_S: Final = 30.0
ENDS: Final = (".", "?", "!", "\u3002", "\uff1f", "\uff01")
MS: Final = 1000
HOUR_S, MINUTE_S = 3600, 60


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and when it was said, in seconds."""

    text: str
    start: float
    end: float

    def result(self) -> dict[str, Any]:
        """Return the word as clients know it."""
        return {"word": self.text, "start": self.start, "end": self.end}


def segments(words: Iterable[Word]) -> list[list[Word]]:
    """Return words in sentences: up to a full stop, a pause, or thirty seconds."""
    found: list[list[Word]] = []
    ended = True
    for word in words:
        if found and not ended:
            first, last = found[-1][0], found[-1][-1]
            ended = word.start - last.end >= PAUSE_S or word.end - first.start > LONGEST_S
        if ended:
            found.append([])
        found[-1].append(word)
        ended = word.text.rstrip().endswith(ENDS)
    return found


def segment(words: Sequence[Word]) -> dict[str, Any]:
    """Return a segment as clients know it."""
    return {
        "start": words[0].start,
        "end": words[-1].end,
        "text": text_of(words),
        "words": [each.result() for each in words],
    }


def text_of(words: Sequence[Word]) -> str:
    """Return what words say together."""
    return " ".join(each.text.strip() for each in words)


def vtt(found: Iterable[Sequence[Word]]) -> str:
    """Return subtitles, one cue for each segment."""
    cues = [
        f"{_clock(each[0].start)} --> {_clock(each[-1].end)}\n{_cue(text_of(each))}\n"
        for each in found
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _cue(text: str) -> str:
    """Return a text as it may stand in a cue: one line, and nothing that reads as markup."""
    line = " ".join(text.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float) -> str:
    """Return a time as WebVTT has it: 00:01.500, with the hours where there are some."""
    ms = round(max(seconds, 0.0) * MS)
    whole, ms = divmod(ms, MS)
    hours, rest = divmod(whole, HOUR_S)
    minutes, rest = divmod(rest, MINUTE_S)
    clock = f"{minutes:02}:{rest:02}.{ms:03}"
    return f"{hours:02}:{clock}" if hours else clock
