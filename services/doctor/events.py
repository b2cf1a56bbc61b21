"""Checks of events: whether analytics takes them, and how much waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from libs.common.process import EventsWaiting
from services.doctor.facts import Facts, Finding
from services.quantities import size

FULL: Final = 0.8  # of a spool
LONG: Final = 0.8  # of a store's line


def away(facts: Facts) -> Iterator[Finding]:
    """A server, or control, cannot reach analytics."""
    for name, host, events in _sinks(facts):
        if events.is_away:
            kept = f"{size(events.spool_bytes)} of {size(events.spool_most_bytes)}"
            yield Finding(
                what=f"{name} cannot reach analytics: {events.waiting} events wait,"
                f" {kept} of its spool are taken",
                why="usage is not up to date; once the spool is full, events are lost",
                mend=f"on {host or 'that machine'}: constellation analytics, with that state"
                " folder; `up` starts its own again, see its log",
            )


def spool(facts: Facts) -> Iterator[Finding]:
    """A spool is near its bound, though analytics is there; or events were lost."""
    for name, _, events in _sinks(facts):
        if events.spool_bytes > FULL * events.spool_most_bytes > 0:
            yield Finding(
                what=f"the spool of {name} is nearly full: {size(events.spool_bytes)} of"
                f" {size(events.spool_most_bytes)}",
                why="from its bound on events are lost",
                mend="see why analytics is away or slow: constellation doctor on its machine;"
                " server.events_spool_mb is the bound",
            )
        if events.dropped:
            yield Finding(
                what=f"{name} has lost {events.dropped} events since its start",
                why="usage misses them for good",
                mend="see that analytics keeps up, or raise server.events_spool_mb",
                is_grave=False,
            )


def here(facts: Facts) -> Iterator[Finding]:
    """Analytics of this machine does not answer, or cannot store."""
    is_told = any(events.is_away for _, _, events in _sinks(facts))
    if facts.analytics_away and not is_told:
        yield Finding(
            what=f"analytics does not answer here: {facts.analytics_away}",
            why="usage cannot be read, and events wait on disk",
            mend="constellation analytics; `up` starts its own again, see its log",
        )
    for store in facts.analytics.stores if facts.analytics is not None else ():
        if store.trouble:
            yield Finding(
                what=f"events cannot be stored in {store.name}: {store.trouble}",
                why="they wait in the servers' spools, which are bounded",
                mend=f"see that {store.name} runs, has room, and takes our user",
            )
        elif store.waiting > LONG * store.most_waiting > 0:
            yield Finding(
                what=f"{store.waiting} events wait for {store.name}, of {store.most_waiting}"
                " that may",
                why="it is slower than they come; then they wait in the servers' spools",
                mend=f"give {store.name} more of its machine, or a faster disk",
                is_grave=False,
            )


def _sinks(facts: Facts) -> Iterator[tuple[str, str, EventsWaiting]]:
    """Yield who sends events, on which machine, and what waits there."""
    told = [(f"{each.kind} {each.name}", each.process) for each in facts.peers]
    if facts.status is not None:
        told.insert(0, (f"control {facts.status.name}", facts.status.process))
    for name, process in told:
        if process is not None and process.events is not None:
            yield name, process.host, process.events
