"""Witnesses: whose calls an endpoint answers, and whose fail there.

One account may send what no model can bear, as fast as it likes: its failures alone say nothing
of an endpoint that answers others. So failures in a row count if they are several accounts', or
if nobody else was answered of late; and many of them, if most of the accounts have them.
"""

from __future__ import annotations

from typing import Final

LATELY_S: Final = 10.0  # as long as an endpoint may be silent until its model is probed


class Calls:
    """How the calls of one account went of late."""

    __slots__ = ("answered", "failed")

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0


class Witnesses:
    """The accounts that have called one endpoint of late."""

    __slots__ = ("_by_account", "_in_row", "_other", "_other_at", "last", "last_at", "last_calls")

    def __init__(self) -> None:
        self.last = ""  # who was answered last: whose next answer is counted without a call
        self.last_at = 0.0
        self.last_calls = Calls()
        self._by_account: dict[str, Calls] = {}
        self._in_row: set[str] = set()  # whose calls failed since one was answered
        self._other, self._other_at = "", 0.0  # who was answered before that, and is another

    def __repr__(self) -> str:
        return f"<Witnesses {len(self._by_account)} failed_in_row={len(self._in_row)}>"

    def answered(self, account: str, at: float) -> None:
        """Count a call that was answered."""
        if account != self.last or not self.last_at:
            self._other, self._other_at = self.last, self.last_at
            self.last, self.last_calls = account, self._of(account)
        self.last_calls.answered += 1
        self.last_at = at
        self._in_row.clear()

    def failed(self, account: str) -> None:
        """Count a call that failed."""
        self._of(account).failed += 1
        self._in_row.add(account)

    def begin_row(self) -> None:
        """Count failures in a row from now on."""
        self._in_row.clear()

    def agree_in_row(self, now: float) -> bool:
        """Whether failures in a row are not one account's alone, while others are answered."""
        if len(self._in_row) != 1:
            return True
        (alone,) = self._in_row
        last_at = self._other_at if self.last == alone else self.last_at
        return not last_at or now - last_at > LATELY_S

    def agree(self, share: float) -> bool:
        """Whether so large a share of the calls fails for most of the accounts."""
        every = [each for each in self._by_account.values() if each.answered or each.failed]
        failing = sum(each.failed >= share * (each.answered + each.failed) for each in every)
        return 2 * failing > len(every)

    def fade(self) -> None:
        """Let what was count half as much, and forget who has not called for long."""
        for account, calls in list(self._by_account.items()):
            calls.answered //= 2
            calls.failed //= 2
            if not calls.answered and not calls.failed and calls is not self.last_calls:
                del self._by_account[account]

    def clear(self) -> None:
        """Forget how calls went; who was answered last stays."""
        for calls in self._by_account.values():
            calls.answered = calls.failed = 0
        self._in_row.clear()

    def _of(self, account: str) -> Calls:
        calls = self._by_account.get(account)
        if calls is None:
            calls = self._by_account[account] = Calls()
        return calls
