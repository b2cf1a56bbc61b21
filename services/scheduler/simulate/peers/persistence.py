"""A change that counts only after it has been wanted for a number of looks in a row."""

from __future__ import annotations


class Persistence:
    """Counts the looks that wanted more, or less, than what there should be now."""

    def __init__(self, *, up_looks: int, down_looks: int) -> None:
        self._up_looks = up_looks
        self._down_looks = down_looks
        self._counter = 0  # above 0 while more is wanted, below 0 while less is

    def __repr__(self) -> str:
        return f"<Persistence {self._counter} of -{self._down_looks}..{self._up_looks}>"

    def take(self, desired: int, current: int) -> int:
        """Return `desired` with the look that completes the row, else `current`."""
        if desired == current:
            self._counter = 0
            return current
        if desired > current:
            self._counter = max(self._counter, 0) + 1
            due = self._counter >= self._up_looks
        else:
            self._counter = min(self._counter, 0) - 1
            due = -self._counter >= self._down_looks
        if not due:
            return current
        self._counter = 0
        return desired
