"""Calls and streams that come all the time, from several threads, and what became of them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

from tests.system.harness import CHAT, Client

LOST = 0  # in the place of a status: no answer at all came


@dataclass(frozen=True)
class Streamed:
    """What a client saw of one stream."""

    text: str
    reasons: tuple[str, ...] = ()
    usage: dict[str, int] = field(default_factory=dict)
    problem: str = ""  # empty where it ended well
    status: int = 200


def streamed(client: Client, **body: Any) -> Streamed:
    """Ask for a stream of text, and read it to its end."""
    texts: list[str] = []
    reasons: list[str] = []
    usage: dict[str, int] = {}
    last, status = "", LOST
    try:
        url = f"{client.account}/ai/run/{CHAT}"
        with client.http.stream("POST", url, json={**body, "stream": True}) as response:
            status = response.status_code
            if status != 200:
                return Streamed("", problem=f"{status} {response.read()!r}", status=status)
            for line in response.iter_lines():
                if not line or line == "data: [DONE]":
                    last = line or last
                    continue
                frame = json.loads(line.removeprefix("data: "))
                if "error" in frame:
                    return Streamed("".join(texts), problem=line)
                texts.append(frame["response"])
                reasons += [frame["finish_reason"]] if "finish_reason" in frame else []
                usage = frame.get("usage", usage)
    except (OSError, httpx.TransportError) as error:
        return Streamed("".join(texts), problem=repr(error), status=status)
    done = last == "data: [DONE]"
    return Streamed("".join(texts), tuple(reasons), usage, "" if done else "no [DONE]")


class Load:
    """Asks for text all the time, and keeps how every call and every stream ended.

    With several clients, each of an entry of its own, it does what a load balancer does:
    it takes them in turn, and who gets no answer at all from one asks the next.
    """

    def __init__(self, *clients: Client, threads: int = 4, streams: int = 0) -> None:
        self.statuses: list[tuple[float, int]] = []
        self.refused: list[tuple[float, str]] = []  # when, and how the error's body began
        self.streams: list[Streamed] = []
        self.asked_again: Counter[str] = Counter()  # by what the first entry did
        self._clients = clients
        self._stop = threading.Event()
        asking = [self._call] * threads + [self._stream] * streams
        self._threads = [
            threading.Thread(target=self._ask, args=(ask, number))
            for number, ask in enumerate(asking)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, ask: Any, number: int) -> None:
        while not self._stop.is_set():
            number += 1
            if ask(self._in_turn(number)) == LOST:
                time.sleep(0.1)

    def _in_turn(self, number: int) -> tuple[Client, ...]:
        first = number % len(self._clients)
        return self._clients[first:] + self._clients[:first]

    def _call(self, clients: Sequence[Client]) -> int:
        status = LOST
        for number, client in enumerate(clients):
            try:
                answer = client.run(CHAT, prompt="Hello!", max_tokens=8)
                status = answer.status_code
                if status != 200:
                    self.refused.append((time.monotonic(), answer.text[:200]))
                break
            except (OSError, httpx.TransportError) as error:
                self._note(error.__class__.__name__, is_last=number + 1 == len(clients))
        self.statuses.append((time.monotonic(), status))
        return status

    def _stream(self, clients: Sequence[Client]) -> int:
        seen = Streamed("", status=LOST)
        for number, client in enumerate(clients):
            seen = streamed(client, prompt="Tell me a story.", max_tokens=60)
            if seen.status != LOST:
                break
            self._note(seen.problem.partition("(")[0], is_last=number + 1 == len(clients))
        self.streams.append(seen)
        return seen.status

    def _note(self, what: str, *, is_last: bool) -> None:
        if not is_last:
            self.asked_again[what] += 1

    def good_since(self, moment: float) -> int:
        return sum(status == 200 for when, status in self.statuses if when > moment)

    def ends(self, since: float = 0.0) -> Counter[int]:
        """How the calls ended from a moment on, by status."""
        return Counter(status for when, status in self.statuses if when >= since)

    @property
    def failed(self) -> int:
        """Calls that had an error for an answer, or none."""
        return sum(status != 200 for _, status in self.statuses)

    @property
    def broken(self) -> list[Streamed]:
        """Streams that did not come to their end."""
        return [each for each in self.streams if each.problem]

    def __str__(self) -> str:
        text = counts(self.ends(), streams=self.streams)
        again = ", ".join(f"{what}: {count}" for what, count in self.asked_again.items())
        return f"{text}; asked again elsewhere ({again})" if again else text


def counts(ends: Mapping[Any, int], *, good: Any = 200, streams: Sequence[Streamed] = ()) -> str:
    """Say how calls and streams ended: what every fault run tells."""
    told = []
    if ends:
        failed = {end: count for end, count in ends.items() if end not in (good, LOST)}
        which = ", ".join(f"{end}: {count}" for end, count in failed.items())
        text = f"{sum(ends.values())} requests, {sum(failed.values())} failed"
        told.append(f"{text}{which and f' ({which})'}, {ends.get(LOST, 0)} lost")
    if streams:
        broken = sum(bool(each.problem) for each in streams)
        told.append(f"{len(streams)} streams, {broken} broken")
    return "; ".join(told)
