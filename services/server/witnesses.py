"""Witnesses: whose calls an endpoint answers, and whose fail there.

One account may send what no model can bear, as fast as it likes: its failures alone say nothing
of an endpoint that answers others. So failures in a row count if they are several accounts', or
if nobody else was answered of late; and many of them, if most of the accounts have them.
"""

from __future__ import annotations

from typing import Final

LATELY_S: Final = 10.0  # as long as an endpoint may be silent until its model is probed


class _Calls:
    """How the calls of one account went of late."""

    __slots__ = ("answered", "failed")

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0


class Witnesses:
    """The accounts that have called one endpoint of late."""

    __slots__ = ("_by_account", "_in_row", "_last", "_last_at", "_other", "_other_at")

    def __init__(self) -> None:
        self._by_account: dict[str, _Calls] = {}
        self._in_row: set[str] = set()  # whose calls failed since one was answered
        self._last = self._other = ""  # who was answered last, and who before that was another
        self._last_at = self._other_at = 0.0

    def __repr__(self) -> str:
        return f"<Witnesses {len(self._by_account)} failed_in_row={len(self._in_row)}>"

    def answered(self, account: str, at: float) -> None:
        """Count a call that was answered."""
        calls = self._by_account.get(account)
        if calls is None:
            calls = self._by_account[account] = _Calls()
        calls.answered += 1
        if account != self._last:
            self._other, self._other_at = self._last, self._last_at
            self._last = account
        self._last_at = at
        if self._in_row:
            self._in_row.clear()

    def failed(self, account: str) -> None:
        """Count a call that failed."""
        calls = self._by_account.get(account)
        if calls is None:
            calls = self._by_account[account] = _Calls()
        calls.failed += 1
        self._in_row.add(account)

    def agree_in_row(self, now: float) -> bool:
        """Whether failures in a row are not one account's alone, while others are answered."""
        if len(self._in_row) != 1:
            return True
        (alone,) = self._in_row
        last_at = self._other_at if self._last == alone else self._last_at
        return not last_at or now - last_at > LATELY_S

    def agree(self, share: float) -> bool:
        """Whether so large a share of the calls fails for most of the accounts."""
        every = self._by_account.values()
        failing = sum(each.failed >= share * (each.answered + each.failed) for each in every)
        return 2 * failing > len(every)

    def fade(self) -> None:
        """Let what was count half as much, and forget who has not called for long."""
        for account, calls in list(self._by_account.items()):
            calls.answered //= 2
            calls.failed //= 2
            if not calls.answered and not calls.failed:
                del self._by_account[account]

    def clear(self) -> None:
        """Forget how calls went; who was answered last stays."""
        self._by_account.clear()
        self._in_row.clear()
