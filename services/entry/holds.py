"""What a call of a limited account has taken of its limits, until its usage is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from libs.common.account_limits import DAY_MS, NEURONS, TOKENS, limit_name
from libs.common.catalog import Price
from libs.common.envelope import Units, Usage
from libs.common.errors import NeuronsUsedUp, RateLimited, RequestError, TokenRateLimited
from libs.common.prices import neurons
from libs.common.world_map import Account
from services.entry.buckets import Allowance, Bucket

OF_REQUESTS: Final = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)
OF_TOKENS: Final = (
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
)
BYTES_PER_TOKEN: Final = 4  # of text in most languages, more or less
READ: Final = frozenset(  # tasks whose bodies are mostly text that a model reads
    {
        "text-generation",
        "text-embeddings",
        "text-classification",
        "translation",
        "summarization",
    }
)


class Meter:
    """One limited account as this entry sees it."""

    __slots__ = ("account", "budget", "requests", "shares", "tokens")

    def __init__(self, account: Account, shares: Parts) -> None:
        self.account = account
        self.shares = shares
        self.requests: dict[str, Bucket] = {}  # by task, of those that were asked for
        self.tokens: Bucket | None = None
        self.budget: Allowance | None = None

    def __repr__(self) -> str:
        return f"<Meter {self.account.id} {list(self.requests.values())}>"

    def begin(self, task: str, now: float, unix_ms: int) -> Hold:
        """Count a call; raises RateLimited, with what is told of the limits."""
        bucket = self.requests.get(task)
        if bucket is None and task in self.account.requests_per_minute:
            bucket = self._bucket(task, float(self.account.requests_per_minute[task]), now)
            self.requests[task] = bucket
        hold = Hold(self, bucket, now, unix_ms)
        if bucket is not None and not bucket.take(1.0, now):
            text = f"{bucket.per_minute:.0f} requests of {task} per minute are used up"
            raise hold.refused(RateLimited(text, retry_after_ms=ms(bucket.wait_s(1.0))))
        return hold

    def token_bucket(self, now: float) -> Bucket | None:
        """Return the bucket of tokens, None without that limit."""
        if self.tokens is None and self.account.tokens_per_minute:
            self.tokens = self._bucket(TOKENS, float(self.account.tokens_per_minute), now)
        return self.tokens

    def day_budget(self, day: int) -> Allowance | None:
        """Return the day's neurons, None without that limit."""
        if self.budget is None and self.account.neurons_per_day:
            name = limit_name(self.account.id, NEURONS)
            share = self.shares.of(name)
            self.budget = Allowance(name, float(self.account.neurons_per_day), share, day)
        return self.budget

    def _bucket(self, kind: str, per_minute: float, now: float) -> Bucket:
        name = limit_name(self.account.id, kind)
        return Bucket(name, per_minute, self.shares.of(name), now)


class Parts:
    """The shares of limits that are this entry's."""

    __slots__ = ("alone", "even", "named")

    def __init__(self) -> None:
        self.even = 1.0  # of every limit that is not named
        self.named: dict[str, float] = {}
        self.alone = 0.0  # of every limit, while control is away for longer than it is kept

    def __repr__(self) -> str:
        return f"<Parts {self.even:.3f} named={len(self.named)}>"

    def of(self, name: str) -> float:
        """Return the share of a limit."""
        return self.alone or self.named.get(name, self.even)


class Hold:
    """A call's part of its account's limits: reserved first, settled by its usage, once."""

    __slots__ = (
        "_day",
        "_input",
        "_meter",
        "_most",
        "_neurons",
        "_now",
        "_open",
        "_requests",
        "_tokens",
    )

    def __init__(self, meter: Meter, requests: Bucket | None, now: float, unix_ms: int) -> None:
        self._meter = meter
        self._requests = requests
        self._now = now
        self._day = unix_ms // DAY_MS
        self._input = 0
        self._most = 0
        self._tokens = 0.0
        self._neurons = 0.0
        self._open = False

    def __repr__(self) -> str:
        return f"<Hold {self._tokens:.0f} tokens, {self._neurons:.1f} neurons>"

    def reserve(self, tokens_in: int, tokens_out: int, price: Price, units: Units) -> None:
        """Take what the call may use at most; TokenRateLimited, NeuronsUsedUp."""
        meter, tokens = self._meter, float(tokens_in + tokens_out)
        bucket, budget = meter.token_bucket(self._now), meter.day_budget(self._day)
        self._input, self._most = tokens_in, tokens_in + tokens_out
        if bucket is not None:
            if not bucket.take(tokens, self._now):
                text = f"{bucket.per_minute:.0f} tokens per minute are used up"
                wait_ms = ms(bucket.wait_s(tokens))
                raise self._undone(TokenRateLimited(text, retry_after_ms=wait_ms))
            self._tokens = tokens
        if budget is not None:
            most = neurons(price, tokens_in=tokens_in, tokens_out=tokens_out, units=units)
            if not budget.take(most, self._day):
                self._settle(0.0, 0.0)
                what = f"the account's {budget.per_day:g} neurons of today"
                text = f"{what} are used up, until midnight UTC"
                raise self._undone(NeuronsUsedUp(text, retry_after_ms=60_000))
            self._neurons = most
        self._open = True

    def settle(self, usage: Usage) -> None:
        """Count what was used in truth."""
        if self._open:
            self._settle(float(usage.tokens_in + usage.tokens_out), usage.neurons)

    def end(self, error: BaseException | None, parts: int) -> None:
        """End a call, if it was not settled: it failed, or its client left.

        If the model may have seen it, it pays for its input and the parts that have come, of
        which each is taken for a token.
        """
        if not self._open:
            return
        is_unsent = isinstance(error, RequestError) and not error.sent and not parts
        tokens = 0 if is_unsent else self._input + parts
        share = min(1.0, tokens / self._most) if self._most else 1.0
        self._settle(float(tokens), self._neurons * share)

    def refused(self, error: RequestError) -> RequestError:
        """Return the error with what its answer's headers tell of the limits."""
        error.headers = tuple(self.headers())
        return error

    def headers(self) -> list[tuple[str, str]]:
        """Return what an answer tells of the limits, in OpenAI's words."""
        told: list[tuple[str, str]] = []
        if self._requests is not None:
            told += _headers(OF_REQUESTS, self._requests)
        if self._meter.tokens is not None:
            told += _headers(OF_TOKENS, self._meter.tokens)
        return told

    def _undone(self, error: RequestError) -> RequestError:
        if self._requests is not None:
            self._requests.give_back(1.0)
        return self.refused(error)

    def _settle(self, tokens: float, spent: float) -> None:
        self._open = False
        if self._meter.tokens is not None:
            self._meter.tokens.give_back(self._tokens - tokens)
        if self._meter.budget is not None:
            self._meter.budget.give_back(self._neurons - spent, self._day)


def most_used(task: str, bytes_in: int, values: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many tokens a call may take in and give at most, as far as one can tell."""
    if task not in READ:
        return 0, 0
    most = values.get("max_completion_tokens") or values.get("max_tokens")
    return bytes_in // BYTES_PER_TOKEN + 1, most if isinstance(most, int) else 0


def _headers(names: tuple[str, str, str], bucket: Bucket) -> list[tuple[str, str]]:
    left = int(bucket.level) if bucket.level > 0.0 else 0
    full_s = (bucket.most - bucket.level) / bucket.per_s if bucket.per_s > 0.0 else 60.0
    return [
        (names[0], bucket.told),
        (names[1], str(left)),
        (names[2], duration(full_s)),
    ]


def duration(seconds: float) -> str:
    """Write a time as OpenAI does: 12ms, 1.5s, 6m0s."""
    if seconds < 1.0:
        return str(int(seconds * 1000)) + "ms"
    if seconds < 60.0:
        return f"{int(seconds * 10) / 10:g}s"
    minutes = int(seconds) // 60
    return f"{minutes}m{int(seconds) - 60 * minutes}s"


def ms(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return int(seconds * 1000) + 1
