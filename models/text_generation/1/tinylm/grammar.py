"""Grammars over bytes: which bytes may come next, and how many it takes at least to an end.

A position is a stack of the parts that are still to come; there are several where a text can
be read in more than one way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

NEVER = 10**9  # the least length of what has no end
MOST_POSITIONS = 1000
Stack = tuple[Any, ...]  # (part, rest, least length of both), or () at the end


class Part(ABC):
    """A piece of a grammar; `least` is the fewest bytes that it can be."""

    def __init__(self, least: int) -> None:
        self.least = min(NEVER, least)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} least={self.least}>"

    @abstractmethod
    def ways(self, rest: Stack) -> Iterable[Stack]:
        """The stacks that stand for it before `rest`."""


class OneOf(Part):
    """One byte of some; the only part that takes any."""

    def __init__(self, values: Iterable[int]) -> None:
        super().__init__(1)
        self.values = frozenset(values)

    def ways(self, rest: Stack) -> Iterable[Stack]:
        """One: itself, which waits for a byte."""
        return (push(self, rest),)


class Chain(Part):
    """Parts that follow one another."""

    def __init__(self, *parts: Part) -> None:
        super().__init__(sum(part.least for part in parts))
        self._parts = parts

    def ways(self, rest: Stack) -> Iterable[Stack]:
        """One: all of them."""
        for part in reversed(self._parts):
            rest = push(part, rest)
        return (rest,)


class Choice(Part):
    """One part of some."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__(min((part.least for part in parts), default=NEVER))
        self._parts = parts

    def ways(self, rest: Stack) -> Iterable[Stack]:
        """Each of them."""
        return [push(part, rest) for part in self._parts]


class Repeat(Part):
    """A part from `fewest` to `most` times."""

    def __init__(self, part: Part, fewest: int, most: int) -> None:
        super().__init__(part.least * fewest if fewest else 0)
        self._part, self._fewest, self._most = part, fewest, most

    def ways(self, rest: Stack) -> Iterable[Stack]:
        """Once more, and enough."""
        found = [] if self._fewest else [rest]
        if self._most:
            more = Repeat(self._part, max(0, self._fewest - 1), self._most - 1)
            found.append(push(self._part, push(more, rest)))
        return found


class Later(Part):
    """A part that is made later: how a grammar refers to itself."""

    def __init__(self) -> None:
        super().__init__(NEVER)
        self.part: Part | None = None

    def ways(self, rest: Stack) -> Iterable[Stack]:
        """What it is made of."""
        return () if self.part is None else (push(self.part, rest),)


def text(value: str) -> Part:
    """Exactly this text."""
    return Chain(*(OneOf((byte,)) for byte in value.encode()))


def push(part: Part, rest: Stack) -> Stack:
    """The stack with one more part on top."""
    return (part, rest, part.least + (rest[2] if rest else 0))


class Position:
    """Where a text is in a grammar, after the bytes that it has."""

    def __init__(self, part: Part) -> None:
        self._stacks = _open([push(part, ())])

    def __repr__(self) -> str:
        return f"<Position ways={len(self._stacks)} may_end={self.may_end}>"

    @property
    def may_end(self) -> bool:
        """Whether the text may end here."""
        return () in self._stacks

    def allowed(self, left: int) -> set[int]:
        """The bytes after which the text can still end, with `left` bytes in all to go.

        Where there is no such byte, those that may come at all.
        """
        following = [stack for stack in self._stacks if stack]
        in_time = [stack for stack in following if stack[2] <= left]
        return {byte for stack in in_time or following for byte in stack[0].values}

    def take(self, byte: int) -> None:
        """Go on by one byte, which must be allowed."""
        self._stacks = _open(
            [stack[1] for stack in self._stacks if stack and byte in stack[0].values]
        )


def _open(stacks: list[Stack]) -> list[Stack]:
    """The stacks with a part on top that takes a byte, or at the end."""
    found: list[Stack] = []
    while stacks and len(found) < MOST_POSITIONS:
        stack = stacks.pop()
        if not stack or isinstance(stack[0], OneOf):
            found.append(stack)
        else:
            stacks += stack[0].ways(stack[1])
    return found
