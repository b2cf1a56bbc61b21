"""Idempotency keys: a call that is sent again gets the first one's answer, and runs nothing.

Who comes while the first still runs waits for it, or follows its stream. What failed is
forgotten, so that the key may be used again; where the first was cancelled, the next one runs
in its place. Answers are kept for a while, within a bound in bytes; the oldest leave first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.clock import Clock
from libs.common.deadline import Deadline, fix
from libs.common.envelope import InferReply, InferRequest, Outcome, TimeBounds, Usage
from libs.common.errors import Aborted, DeadlineExceeded, KeyReused, RequestError, StreamLost
from libs.common.ports import Send
from libs.eager import Promise
from services.server.following import Followers, Following
from services.server.shards import Shards

OVERHEAD: Final = 1024  # bytes that an answer costs besides its own
Key = tuple[str, str, str]
Infer = Callable[[InferRequest], Awaitable[InferReply]]
Stream = Callable[[InferRequest, Send], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLimits:
    """How long answers are kept, and what that may cost."""

    keep_s: float = 600.0
    total_bytes: int = 64 * 1024 * 1024
    answer_bytes: int = 4 * 1024 * 1024  # a larger one is not kept


KEPT: Final = KeptLimits()


class Kept:
    """The answer to one key: coming, there, or failed."""

    __slots__ = ("changed", "digest", "ended_at", "error", "outcome", "payloads", "reply", "size")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.payloads: list[bytes] = []  # of a stream
        self.reply: InferReply | None = None
        self.outcome: Outcome | None = None  # of a stream that has ended well
        self.error: RequestError | None = None
        self.size = OVERHEAD
        self.ended_at = 0.0
        self.changed = asyncio.Event()

    def __repr__(self) -> str:
        state = "ended" if self.ended_at else "coming"
        return f"<Kept {self.size} bytes, {state}>"

    def tell(self) -> None:
        """Wake all who follow."""
        self.changed.set()
        self.changed = asyncio.Event()


class Idempotency:
    """The answers of one server, by account, key and model."""

    def __init__(
        self, limits: KeptLimits, *, clock: Clock, shards: Shards, followers: Followers
    ) -> None:
        self._limits = limits
        self._shards = shards
        self._clock = clock
        self._followers = followers
        self._kept: dict[Key, Kept] = {}
        self._ended: OrderedDict[Key, None] = OrderedDict()  # the oldest first
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Idempotency {len(self._kept)} keys, {self._bytes} bytes of answers>"

    def cancel(self, *, account: str, request_id: str) -> list[str]:
        """Cancel the calls of an account that wait for another's answer."""
        return self._followers.cancel(account=account, request_id=request_id)

    async def infer(self, request: InferRequest, run: Infer) -> InferReply:
        """Return the answer to the request's key, by `run` where there is none; or KeyReused."""
        deadline = fix(request.time_bounds, self._clock.now())
        waited = False
        with self._follow_another(request) as following:
            while (kept := self._find(request)) is not None:
                waited = True
                while not kept.ended_at:
                    await self._change(kept, deadline.until_first(self._clock.now()))
                if kept.reply is not None:
                    outcome = self._replayed(request, kept.reply.outcome)
                    following.parts((kept.reply.payload,))
                    following.answered(outcome)
                    return InferReply(
                        payload=kept.reply.payload,
                        content_type=kept.reply.content_type,
                        outcome=outcome,
                    )
                if kept.error is not None and not isinstance(kept.error, Aborted):
                    raise _again(kept.error)
        alone = _without_key(request, deadline.remaining(self._clock.now()) if waited else None)
        key, kept = self._begin(request)
        try:
            kept.reply = reply = await run(alone)
            kept.size += len(reply.payload)
        except BaseException as error:
            self._failed(key, kept, error)
            raise
        self._end(key, kept)
        return reply

    async def stream(self, request: InferRequest, send: Send, run: Stream) -> Outcome:
        """Hand on the parts of the answer to the request's key, by `run` where there is none."""
        deadline = fix(request.time_bounds, self._clock.now())
        waited = False
        with self._follow_another(request) as following:
            while (kept := self._find(request)) is not None:
                waited = True
                outcome = await self._follow(kept, following, send, deadline)
                if outcome is not None:
                    replayed = self._replayed(request, outcome)
                    following.answered(replayed)
                    return replayed
        alone = _without_key(request, deadline.remaining(self._clock.now()) if waited else None)
        key, kept = self._begin(request)

        def pass_on(payloads: Sequence[bytes]) -> Promise[None] | None:
            if kept.error is None:
                kept.payloads.extend(payloads)
                kept.size += sum(map(len, payloads))
                if kept.size > self._limits.answer_bytes:
                    self._failed(key, kept, StreamLost("the first answer is too large to follow"))
                kept.tell()
            return send(payloads)

        try:
            outcome = await run(alone, pass_on)
        except BaseException as error:
            self._failed(key, kept, error)
            raise
        if kept.error is None:
            kept.outcome = outcome
            self._end(key, kept)
        return outcome

    def _replayed(self, request: InferRequest, first: Outcome) -> Outcome:
        """Return the outcome of a call that got another's answer: how full the shard is now.

        It has used what the answer says, which was paid for once; it was served nowhere.
        """
        shard = self._shards.find(request.model, request.shard)
        used = first.usage
        return Outcome(
            usage=Usage(tokens_in=used.tokens_in, tokens_out=used.tokens_out, units=used.units),
            endpoint=first.endpoint,
            chosen_because="kept",
            free_permits=shard.turnstile.free if shard else 0,
            queue_length=shard.turnstile.waiting if shard else 0,
        )

    def _follow_another(self, request: InferRequest) -> Following:
        """Return the block in which a call waits for another's answer."""
        return self._followers.follow(request, self._shards.find(request.model, request.shard))

    async def _follow(
        self, kept: Kept, following: Following, send: Send, deadline: Deadline
    ) -> Outcome | None:
        """Hand on the parts that come; None where nothing came of a stream that was cancelled."""
        at, until = 0, deadline.first_part
        while True:
            if new := kept.payloads[at:]:
                at += len(new)
                following.parts(new)
                room = send(new)
                if room is not None:
                    await room
                until = self._clock.now() + deadline.idle
            elif kept.outcome is not None:
                return kept.outcome
            elif kept.error is None:
                now = self._clock.now()
                await self._change(kept, min(until, deadline.total) - now)
            elif at:
                raise StreamLost("the first call of this key ended early", sent=True)
            elif isinstance(kept.error, Aborted | StreamLost):
                return None
            else:
                raise _again(kept.error)

    async def _change(self, kept: Kept, seconds: float) -> None:
        """Wait until more is known of an answer."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await kept.changed.wait()
        except TimeoutError as error:
            text = "the first call of this key had no answer in time"
            raise DeadlineExceeded(text, sent=True) from error

    def _find(self, request: InferRequest) -> Kept | None:
        """Return what is known of the request's key; KeyReused if it says something else."""
        self._forget_the_old()
        kept = self._kept.get(_key(request))
        if kept is not None and kept.digest != _digest(request):
            raise KeyReused("this idempotency key was sent with another request")
        return kept

    def _begin(self, request: InferRequest) -> tuple[Key, Kept]:
        key, kept = _key(request), Kept(_digest(request))
        self._kept[key] = kept
        return key, kept

    def _end(self, key: Key, kept: Kept) -> None:
        """The answer is whole: keep it, unless it is too large."""
        kept.ended_at = self._clock.now()
        if self._kept.get(key) is kept:
            if kept.size > self._limits.answer_bytes:
                del self._kept[key]
            else:
                self._bytes += kept.size
                self._ended[key] = None
                self._forget_the_old()
        kept.tell()

    def _failed(self, key: Key, kept: Kept, error: BaseException) -> None:
        """No answer comes: the key is free again, and those who wait hear why."""
        if self._kept.get(key) is kept:
            del self._kept[key]
        left = Aborted("the first call of this key has left")
        kept.error = error if isinstance(error, RequestError) else left
        kept.ended_at = self._clock.now()
        kept.payloads = []
        kept.tell()

    def _forget_the_old(self) -> None:
        oldest = self._clock.now() - self._limits.keep_s
        while self._ended:
            key = next(iter(self._ended))
            kept = self._kept[key]
            if self._bytes <= self._limits.total_bytes and kept.ended_at > oldest:
                return
            del self._ended[key], self._kept[key]
            self._bytes -= kept.size


def _key(request: InferRequest) -> Key:
    return request.account, request.idempotency_key, request.model


def _digest(request: InferRequest) -> bytes:
    """Return what stands for all that the model sees, and whether it streams."""
    digest = hashlib.blake2b(request.payload, digest_size=16)
    digest.update(f"\0{request.adapter}\0{request.stream}".encode())
    return digest.digest()


def _without_key(request: InferRequest, left: TimeBounds | None) -> InferRequest:
    """Return the call that runs, with the time that is left where it has waited."""
    alone = request.copy()
    alone.idempotency_key = ""
    alone.time_bounds = left or request.time_bounds
    return alone


def _again(error: RequestError) -> RequestError:
    """Return the first one's error for another who waited for it."""
    return type(error)(str(error), retry_after_ms=error.retry_after_ms, sent=error.sent)
