"""Parts of a model's streams, read by their bytes: a run of them that are alike is read at once.

A part is an answer whose first tensor is a text. What comes together mostly differs in that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from libs.common.answers import MOST_IN_ONE_BYTE, RAW_OUTPUT, Layout, layout_of, tensors_in
from libs.common.varint import read_varint
from libs.common.wire import Tensor, payload_to_tensors

T = TypeVar("T")
PREFIX_BYTES: Final = 4  # a BYTES element has its length before it
MOST_MEANINGS: Final = 1024  # the number of the prompt's tokens is in each
LONGEST_KEPT: Final = 256  # bytes of what comes after a text
MOST_LOOKS: Final = 8  # of one stream's parts; one that differs more often is not worth learning


class Run:
    """Parts one after the other that are alike in all but their texts."""

    __slots__ = ("at", "is_odd", "tail", "texts")

    def __init__(self, at: int, texts: list[bytes], tail: bytes, *, is_odd: bool = False) -> None:
        self.at = at  # where the first of them is
        self.texts = texts
        self.tail = tail  # all that comes after a text
        self.is_odd = is_odd

    def __repr__(self) -> str:
        return f"<Run of {len(self.texts)} at {self.at}{' odd' if self.is_odd else ''}>"


class LastCut:
    """The parts that were cut last: in one process, the next who reads is given the very same."""

    __slots__ = ("layout", "payloads", "runs")

    def __init__(self, payloads: Sequence[bytes], layout: object, runs: list[Run]) -> None:
        self.payloads = payloads
        self.layout = layout
        self.runs = runs

    def __repr__(self) -> str:
        return f"<LastCut of {len(self.payloads)} parts>"


_LAST: Final = [LastCut((), None, [])]  # one, replaced as a whole


def runs_of(payloads: Sequence[bytes], layout: Layout) -> list[Run]:
    """Cut the texts out of parts that look like this; payloads are not changed once they are cut.

    A server counts the tokens of the parts that entry makes text of: cut once for both.
    """
    last = _LAST[0]
    if payloads is not last.payloads or layout is not last.layout:
        last = _LAST[0] = LastCut(payloads, layout, _cut(payloads, layout))
    return last.runs


def _cut(payloads: Sequence[bytes], layout: Layout) -> list[Run]:
    """Look at the bytes around each text alone: they are those of the part before, as mostly."""
    runs: list[Run] = []
    size_at = layout.contents_at + 1
    text_at = size_at + 1 + PREFIX_BYTES
    head = tail = b""
    is_known = False
    texts: list[bytes] = []
    for at, payload in enumerate(payloads):
        end = len(payload) - len(tail)
        size = end - size_at - 1
        if (
            is_known
            and PREFIX_BYTES <= size <= MOST_IN_ONE_BYTE
            and payload[size_at] == size
            and payload.startswith(head)
            and payload.endswith(tail)
        ):
            texts.append(payload[text_at:end])
        else:
            run = _begun(at, payload, layout)
            runs.append(run)
            is_known = not run.is_odd
            head, texts, tail = payload[:size_at], run.texts, run.tail
    return runs


def _begun(at: int, payload: bytes, layout: Layout) -> Run:
    """Return the run that this part begins."""
    begin, whole = layout.contents_at + 2, len(payload)
    if (
        begin > whole
        or payload[begin - 2] != RAW_OUTPUT
        or not payload.startswith(layout.before)
        or not payload.startswith(layout.after, layout.after_at)
    ):
        return _odd(at)
    size = payload[begin - 1]
    if size > MOST_IN_ONE_BYTE:
        try:
            size, begin = read_varint(payload, begin - 1)
        except IndexError:  # it is cut short
            return _odd(at)
    end = begin + size
    if size < PREFIX_BYTES or end > whole:
        return _odd(at)
    return Run(at, [payload[begin + PREFIX_BYTES : end]], payload[end:])


def _odd(at: int) -> Run:
    """Return a run of one part that looks otherwise, so that its text is not known yet."""
    return Run(at, [b""], b"", is_odd=True)


class PartReader(Generic[T]):
    """Reads the parts of a model's streams: the text of the first tensor, and what the rest means.

    The tensors after the text say one of a few things, which are looked up by their bytes.
    """

    def __init__(self, text: str, meaning: Callable[[Mapping[str, Tensor]], T]) -> None:
        """`text` names the tensor; `meaning` must not look at it."""
        self._text = text
        self._meaning = meaning
        self.layout: Layout | None = None
        self._meanings: dict[bytes, T] = {}  # by what comes after the text

    def __repr__(self) -> str:
        return f"<PartReader of {self._text} meanings={len(self._meanings)}>"

    def read(self, payloads: Sequence[bytes]) -> list[tuple[list[bytes], T]]:
        """Return the texts of parts one after the other that mean the same, and what that is.

        Raises for the first part that is bad: KeyError without the tensor, DecodeError for none.
        """
        layout, meanings = self.layout, self._meanings
        if layout is None:
            return [self._decode(each) for each in payloads]
        read: list[tuple[list[bytes], T]] = []
        for run in runs_of(payloads, layout):
            if not run.is_odd and run.tail in meanings:
                read.append((run.texts, meanings[run.tail]))
            else:
                read += self._new(payloads, run, layout)
        return read

    def _new(
        self, payloads: Sequence[bytes], run: Run, layout: Layout
    ) -> list[tuple[list[bytes], T]]:
        """Read a run that looks otherwise, or ends in a way that is not known."""
        tensors = None if run.is_odd else tensors_in(payloads[run.at], layout)
        if tensors is None:
            parts = payloads[run.at : run.at + len(run.texts)]
            return [self._decode(each) for each in parts]
        meaning = self._meaning(tensors)
        if layout is self.layout and len(run.tail) <= LONGEST_KEPT:
            if len(self._meanings) >= MOST_MEANINGS:
                del self._meanings[next(iter(self._meanings))]
            self._meanings[run.tail] = meaning
        return [(run.texts, meaning)]

    def _decode(self, payload: bytes) -> tuple[list[bytes], T]:
        """Read a part in the plain way, and learn how it looks."""
        tensors = payload_to_tensors(payload)
        meaning = self._meaning(tensors)
        text = b"".join(tensors[self._text].texts())
        layout = layout_of(payload)
        is_text = layout is not None and layout.tensors[0] == (self._text, "BYTES", (1,))
        if is_text and layout is not self.layout:
            self.layout, self._meanings = layout, {}  # anew: who is reading goes on with the old
        return [text], meaning


class StreamReader(Generic[T]):
    """Reads the parts of one stream: one that comes alone is mostly like the one before.

    `PartReader` is what all of a model's streams have learnt.
    """

    __slots__ = ("_head", "_looks", "_meaning", "_parts", "_tail")

    def __init__(self, parts: PartReader[T]) -> None:
        self._parts = parts
        self._head = b""  # all before a text's size; empty where nothing is known
        self._tail = b""  # all after a text
        self._meaning: T | None = None
        self._looks = 0

    def __repr__(self) -> str:
        return f"<StreamReader of {self._parts!r}>"

    def read(self, payloads: Sequence[bytes]) -> list[tuple[list[bytes], T]]:
        """Read as `PartReader.read` does."""
        if len(payloads) != 1:
            return self._parts.read(payloads)
        meaning, payload = self._meaning, payloads[0]
        if meaning is None:
            return self._learn(payload)
        size_at = len(self._head)
        end = len(payload) - len(self._tail)
        size = end - size_at - 1
        if (
            PREFIX_BYTES <= size <= MOST_IN_ONE_BYTE
            and payload[size_at] == size
            and payload.startswith(self._head)
            and payload.endswith(self._tail)
        ):
            return [([payload[size_at + 1 + PREFIX_BYTES : end]], meaning)]
        return self._learn(payload)

    def _learn(self, payload: bytes) -> list[tuple[list[bytes], T]]:
        """Read it as one of the model's, and remember how it looks."""
        read = self._parts.read((payload,))
        layout = self._parts.layout
        if layout is not None and self._looks < MOST_LOOKS:
            self._looks += 1
            run = _begun(0, payload, layout)
            is_known = not run.is_odd and len(run.texts[0]) + PREFIX_BYTES <= MOST_IN_ONE_BYTE
            self._head = payload[: layout.contents_at + 1]
            self._tail = run.tail
            self._meaning = read[0][1] if is_known else None
        return read
