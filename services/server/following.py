"""Calls that wait for the answer to another of their key: cancelled by id, and told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from libs.common.envelope import InferRequest, Outcome
from libs.common.errors import Aborted


class Following:
    """One call while it waits; a context manager, in the task that waits."""

    __slots__ = ("_answered", "_followers", "_is_cancelled", "_task", "request")

    def __init__(
        self,
        request: InferRequest,
        followers: set[Following],
        answered: Callable[[InferRequest, Outcome], None],
    ) -> None:
        self.request = request
        self._followers = followers
        self._answered = answered
        self._task = asyncio.current_task()
        self._is_cancelled = False

    def __repr__(self) -> str:
        return f"<Following {self.request.request_id}>"

    def answered(self, outcome: Outcome) -> None:
        """It has got the other one's answer."""
        self._answered(self.request, outcome)

    def cancel(self) -> None:
        """Stop waiting; its caller gets Aborted."""
        if self._task is not None and not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()

    def __enter__(self) -> Following:
        self._followers.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._followers.discard(self)
        if self._is_cancelled and isinstance(error, asyncio.CancelledError):
            assert self._task is not None
            self._task.uncancel()  # the task goes on and answers
            raise Aborted("the request was cancelled") from error


class Followers:
    """All calls of one server that wait so; `answered` is told of each that got an answer."""

    def __init__(self, answered: Callable[[InferRequest, Outcome], None]) -> None:
        self._answered = answered
        self._waiting: set[Following] = set()

    def __repr__(self) -> str:
        return f"<Followers {len(self._waiting)}>"

    def follow(self, request: InferRequest) -> Following:
        """Return the block in which a call waits."""
        return Following(request, self._waiting, self._answered)

    def cancel(self, *, account: str, request_id: str) -> list[str]:
        """Cancel those of an account that have this id, ours or the client's."""
        found = [
            each
            for each in self._waiting
            if each.request.account == account
            and request_id in (each.request.request_id, each.request.client_request_id)
        ]
        for each in found:
            each.cancel()
        return [each.request.request_id for each in found]
