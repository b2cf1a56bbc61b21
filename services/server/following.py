"""Calls that wait for the answer to another of their key: cancelled by id, and told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType

from libs.common.clock import Clock
from libs.common.envelope import InferRequest, Outcome
from libs.common.errors import Aborted, RequestError
from services.server.errors import ended_with
from services.server.shards import OwnedShard


class Following:
    """One call while it waits; a context manager, in the task that waits."""

    __slots__ = (
        "_clock",
        "_ended",
        "_followers",
        "_is_cancelled",
        "_task",
        "arrived",
        "arrived_ms",
        "bytes_out",
        "error",
        "first_part_at",
        "outcome",
        "queue_size",
        "request",
        "shard",
        "took_s",
    )

    def __init__(
        self,
        request: InferRequest,
        shard: OwnedShard | None,
        *,
        followers: set[Following],
        ended: Callable[[Following], None],
        clock: Clock,
    ) -> None:
        self.request = request
        self.shard = shard
        self.queue_size = shard.turnstile.waiting if shard is not None else 0
        self.arrived = clock.now()
        self.arrived_ms = clock.unix_ms()
        self.first_part_at = 0.0
        self.bytes_out = 0
        self.took_s = 0.0
        self.outcome: Outcome | None = None  # once it has got the other one's answer
        self.error: type[RequestError] | None = None
        self._clock = clock
        self._followers = followers
        self._ended = ended
        self._task = asyncio.current_task()
        self._is_cancelled = False

    def __repr__(self) -> str:
        return f"<Following {self.request.request_id}>"

    def parts(self, payloads: Sequence[bytes]) -> None:
        """Parts of the other one's answer are handed on."""
        self.first_part_at = self.first_part_at or self._clock.now()
        self.bytes_out += sum(map(len, payloads))

    def answered(self, outcome: Outcome) -> None:
        """It has got the other one's answer, all of it."""
        self.outcome = outcome

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
        """Tell how it ended; who has no answer and no error runs, and is told of by its record."""
        self._followers.discard(self)
        self.took_s = self._clock.now() - self.arrived
        self.error = ended_with(kind)
        if self.error is not None or self.outcome is not None:
            self._ended(self)
        if isinstance(error, RequestError):
            error.recorded = True
        if self._is_cancelled and isinstance(error, asyncio.CancelledError):
            assert self._task is not None
            self._task.uncancel()  # the task goes on and answers
            raise Aborted("the request was cancelled") from error


class Followers:
    """All calls of one server that wait so; `ended` is told of each that does not run itself."""

    def __init__(self, ended: Callable[[Following], None], clock: Clock) -> None:
        self._ended = ended
        self._clock = clock
        self._waiting: set[Following] = set()

    def __repr__(self) -> str:
        return f"<Followers {len(self._waiting)}>"

    def follow(self, request: InferRequest, shard: OwnedShard | None) -> Following:
        """Return the block in which a call waits."""
        return Following(
            request, shard, followers=self._waiting, ended=self._ended, clock=self._clock
        )

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
