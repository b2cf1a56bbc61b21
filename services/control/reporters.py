"""Report streams: whose resources are whose, and what becomes of them at a stream's end.

A reporter that says goodbye is forgotten at once, one that is lost after some
seconds, and a node not before it is told: its instances outlive its agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from libs.common.errors import BadInput, NameTaken, Unavailable
from libs.common.world_map import (
    Instance,
    Node,
    Ref,
    Report,
    ReporterKind,
    Resource,
    Shard,
    ShardLoad,
    ref,
)
from services.control.snapshot import Snapshot
from services.control.writes import check_report


class Reporter(NamedTuple):
    """Names a reporter."""

    kind: ReporterKind
    name: str


class Reporters:
    """Takes reports into the snapshot; `heard` is called with whom each came from."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        gone_s: float,
        silent_s: float,
        heard: Callable[[Reporter], None],
        unix_ms: Callable[[], int],
        forgotten: Callable[[Reporter], None] = lambda reporter: None,
    ) -> None:
        self._snapshot = snapshot
        self._gone_s = gone_s
        self._silent_s = silent_s
        self._heard = heard
        self._unix_ms = unix_ms
        self._forgotten = forgotten
        self._open: set[_Stream] = set()  # those that have not said who they are, too
        self._streams: dict[Reporter, _Stream] = {}
        self._resources: dict[Reporter, set[Ref]] = {}
        self._by: dict[Ref, Reporter] = {}
        self._leaving: dict[Reporter, asyncio.TimerHandle] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Reporters live={len(self._streams)} lost={len(self._leaving)}>"

    def reporting(self) -> dict[Reporter, bool]:
        """Return those that have reported and are not forgotten, and whether they still do."""
        return {each: each in self._streams for each in tuple(self._resources)}

    def restore(self, nodes: Iterable[Node], instances: Iterable[Instance]) -> None:
        """Take nodes and what they last had as the last control knew them; they are away so far."""
        now = self._unix_ms()
        known = {each.name: each for each in nodes}
        mine: list[Resource] = [
            replace(each, away_since_ms=each.away_since_ms or now) for each in known.values()
        ]
        mine += [each for each in instances if each.node in known]
        for each in mine:
            name = each.node if isinstance(each, Instance) else each.key
            self._by[ref(each)] = reporter = Reporter("node", name)
            self._resources.setdefault(reporter, set()).add(ref(each))
        self._snapshot.change(mine)

    def forget_node(self, name: str) -> None:
        """Forget a node that does not report, and what it had."""
        if (reporter := Reporter("node", name)) not in self._streams:
            self._forget(reporter)

    async def follow(self, reports: AsyncIterator[Report], taken: Callable[[Report], None]) -> None:
        """Take one stream's reports until its end, and say so of each."""
        stream = _Stream(reports)
        reporter = None
        goodbye = False
        self._open.add(stream)
        try:
            while (report := await stream.next(self._silent_s)) is not None:
                check_report(report, self._snapshot.world)
                reporter = self._identify(report, reporter, stream)
                self._take(reporter, report)
                taken(report)
            goodbye = True
        finally:
            self._open.discard(stream)
            if reporter is not None and self._streams.get(reporter) is stream:
                self._leave(reporter, stream, goodbye=goodbye)

    def close(self) -> None:
        """End all streams, and forget nobody."""
        self._closed = True
        for timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()
        for stream in self._open:
            stream.end("control is stopping")

    def _identify(self, report: Report, before: Reporter | None, stream: _Stream) -> Reporter:
        reporter = Reporter(report.kind, report.name)
        if before is not None:
            if reporter != before:
                raise BadInput("a stream is one reporter's", pointer="/name")
            return reporter
        other = self._streams.get(reporter)
        if other is not None:
            # a connection that was lost unseen looks alive: only who speaks holds the name
            if other.silence() < self._gone_s:
                raise NameTaken(f"there is a live {reporter.kind} {reporter.name!r} already")
            other.end("another stream has this name now")
        self._streams[reporter] = stream
        if timer := self._leaving.pop(reporter, None):
            timer.cancel()
        return reporter

    def _take(self, reporter: Reporter, report: Report) -> None:
        """Publish what is new, changed or gone since the reporter's last report."""
        mine = {ref(each): each for each in report.resources}
        before = self._resources.get(reporter, set())
        puts = {name: each for name, each in mine.items() if self._may_publish(reporter, each)}
        gone = {name for name in before - mine.keys() if self._by.get(name) == reporter}
        self._resources[reporter] = set(mine)
        self._by |= dict.fromkeys(puts, reporter)
        for name in gone:
            del self._by[name]
        self._snapshot.change(puts.values(), gone)
        self._heard(reporter)

    def _may_publish(self, reporter: Reporter, resource: Resource) -> bool:
        """While a shard moves, two servers report it: the owner's word stands."""
        other = self._by.get(ref(resource), reporter)
        if other == reporter:
            return True
        if not isinstance(resource, ShardLoad):
            raise BadInput(f"{resource.key!r} is {other.kind} {other.name!r}'s")
        shard = self._snapshot.world.table(Shard).get(resource.key)
        return shard is not None and shard.owner == reporter.name

    def _leave(self, reporter: Reporter, stream: _Stream, *, goodbye: bool) -> None:
        del self._streams[reporter]
        if self._closed:
            return
        if reporter.kind == "node":
            heard_ms = self._unix_ms() - round(1000 * stream.silence())
            node = self._snapshot.world.table(Node).get(reporter.name)
            self._snapshot.change([replace(node, away_since_ms=heard_ms)] if node else [])
        elif goodbye:
            self._forget(reporter)
        else:
            loop = asyncio.get_running_loop()
            self._leaving[reporter] = loop.call_later(self._gone_s, self._forget, reporter)

    def _forget(self, reporter: Reporter) -> None:
        self._leaving.pop(reporter, None)
        names = self._resources.pop(reporter, set())
        gone = [name for name in names if self._by.get(name) == reporter]
        for name in gone:
            del self._by[name]
        self._snapshot.change(deletes=gone)
        self._forgotten(reporter)


class _Stream:
    """One stream of reports, which can be ended from outside."""

    def __init__(self, reports: AsyncIterator[Report]) -> None:
        self._reports = reports
        self._patience: asyncio.Timeout | None = None
        self._why = "nothing was reported for too long"
        self._is_over = False
        self._clock = asyncio.get_running_loop().time
        self._heard_at = self._clock()

    def silence(self) -> float:
        """Seconds since the last report."""
        return self._clock() - self._heard_at

    async def next(self, silent_s: float) -> Report | None:
        """Wait for the next report; None after a goodbye."""
        if self._is_over:  # while what came before was taken
            raise Unavailable(self._why)
        try:
            async with asyncio.timeout(silent_s) as self._patience:
                report = await anext(self._reports, None)
        except TimeoutError:
            raise Unavailable(self._why) from None
        finally:
            self._patience = None
        self._heard_at = self._clock()
        return report

    def end(self, why: str) -> None:
        """Make the stream fail."""
        self._why, self._is_over = why, True
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._clock())
