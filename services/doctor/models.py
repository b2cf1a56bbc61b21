"""Checks of models: whether what is wanted runs, is healthy, and has room for calls."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from libs.common.catalog import Model
from libs.common.world_map import Colo, Decision, Instance, Override, ShardLoad
from services.doctor.facts import Facts, Finding

BOOTS: Final = 3.0  # times of a usual boot, from which on one takes too long
LEAST_BOOT_S: Final = 60.0
FULL: Final = 0.9  # of a queue
REFUSED: Final = 0.05  # of the calls
LEAST_REFUSED: Final = 5
LEAST_CALLS: Final = 20  # of a minute, from which on a share says something
LOG_LINES: Final = 4


def not_ready(facts: Facts) -> Iterator[Finding]:
    """A model that is wanted has no instance that is ready, and none is coming soon."""
    world = facts.world
    for model in sorted(world.table(Model).values(), key=lambda each: each.name):
        if model.backend.external:
            continue
        decisions = [d for d in world.table(Decision).values() if d.model == model.name]
        for each in sorted(decisions, key=lambda each: each.region):
            colos = {c.name for c in world.table(Colo).values() if c.region == each.region}
            found = _instances(facts, model.name, colos)
            is_ready = any(instance.state == "ready" for instance in found)
            if each.desired and not is_ready and not _is_coming(facts, found, each.boot_s):
                yield _missing(model.name, each, found)


def _missing(model: str, decision: Decision, found: Collection[Instance]) -> Finding:
    where = f" in region {decision.region}" if decision.region else ""
    states = [each.state for each in found]
    told = ", ".join(f"{states.count(each)} {each}" for each in sorted(set(states)))
    reason = f"; {told}" if told else f"; none is placed: {decision.reason}"
    return Finding(
        what=f"{model} has no instance that is ready{where}, {decision.desired} are wanted{reason}",
        why="its calls wait until they are late, or are refused",
        mend=f"constellation explain {model}",
    )


def _is_coming(facts: Facts, found: Collection[Instance], boot_s: float) -> bool:
    longest_s = max(BOOTS * boot_s, LEAST_BOOT_S)
    booting = [each.since_ms for each in found if each.state == "booting" and not each.message]
    return any((facts.at_ms - since) / 1000 < longest_s for since in booting)


def _instances(facts: Facts, model: str, colos: Collection[str]) -> list[Instance]:
    every = facts.world.table(Instance).values()
    return [each for each in every if each.model == model and each.colo in colos]


def boots(facts: Facts) -> Iterator[Finding]:
    """An instance fails to boot, or died and is not back."""
    for each in sorted(facts.world.table(Instance).values(), key=lambda each: each.id):
        if each.state == "failed" or (each.state == "booting" and each.message):
            lines = [line.strip() for line in each.message.splitlines() if line.strip()]
            last = " | ".join([*lines[:1], *lines[1:][-LOG_LINES:]])
            again = "has failed" if each.state == "failed" else "has failed and boots again"
            yield Finding(
                what=f"{each.id} of {each.model} on node {each.node} {again}:"
                f" {last or 'it does not say why'}",
                why="it is tried again and again, with longer and longer waits; calls go to others",
                mend=f"read the node's log on {each.node}; mend the model's files, then"
                f" constellation models check {each.model}",
            )


def stuck(facts: Facts) -> Iterator[Finding]:
    """An instance cannot be stopped."""
    for each in sorted(facts.world.table(Instance).values(), key=lambda each: each.id):
        if each.state == "draining" and each.message:
            yield Finding(
                what=f"{each.id} of {each.model} on node {each.node} {each.message}",
                why="it takes no calls, but holds its GPU; it is stopped again and again",
                mend=f"read the node's log on {each.node}, and end what still runs there",
                is_grave=False,
            )


def ejected(facts: Facts) -> Iterator[Finding]:
    """An endpoint is out of service for what it did."""
    for load in sorted(facts.world.table(ShardLoad).values(), key=lambda each: each.key):
        out = [each for each in load.endpoints if each.state == "backoff"]
        if out:
            addresses = ", ".join(each.address or each.instance for each in out)
            yield Finding(
                what=f"{len(out)} of {len(load.endpoints)} endpoints of {load.model} in colo"
                f" {load.colo} are ejected: {addresses}",
                why="they failed too often, or do not answer; they are tried now and then,"
                " the others have their calls",
                mend=f"constellation models check {load.model}; look at what runs there",
            )


def full(facts: Facts) -> Iterator[Finding]:
    """A queue is at its bound, or calls are refused."""
    for load in sorted(facts.world.table(ShardLoad).values(), key=lambda each: each.key):
        model = facts.world.table(Model).get(load.model)
        if model is None:
            continue
        refused, calls = _grown(load, facts.earlier.get(load.key))
        is_full = load.queued and load.queued >= FULL * model.permits.queue
        if is_full or (refused >= LEAST_REFUSED and refused > REFUSED * calls):
            told = f"; {refused} of the last {calls} calls were refused" if refused else ""
            yield Finding(
                what=f"{load.model} is full in colo {load.colo}: {load.queued} of"
                f" {model.permits.queue} places of its queue are taken{told}",
                why="more calls come than its instances can serve",
                mend=f"constellation explain {load.model}; constellation scale {load.model}"
                " --max N, or more permits per instance",
            )


def _grown(load: ShardLoad, before: ShardLoad | None) -> tuple[int, int]:
    """Return how many calls were refused since then, of how many."""
    if before is None or before.boot_epoch != load.boot_epoch:
        return 0, 0
    refused = sum(load.rejected.values()) - sum(before.rejected.values())
    return refused, max(refused, load.arrivals - before.arrivals)


def late(facts: Facts) -> Iterator[Finding]:
    """More calls of the last minute were late than the model's SLO allows."""
    for each in sorted(facts.world.table(Decision).values(), key=lambda each: each.key):
        if each.arrivals >= LEAST_CALLS and each.late > each.slo_late_share * each.arrivals:
            where = f" in region {each.region}" if each.region else ""
            yield Finding(
                what=f"{each.late:.0f} of {each.arrivals:.0f} calls of {each.model}{where} were"
                f" late in a minute, {each.slo_late_share:.2%} may be",
                why="they waited a second or more, or were refused; the scheduler adds instances"
                " where it may and there is room",
                mend=f"constellation explain {each.model}",
                is_grave=False,
            )


def frozen(facts: Facts) -> Iterator[Finding]:
    """An operator's word holds a model where it is, for ever."""
    for each in sorted(facts.world.table(Override).values(), key=lambda each: each.key):
        if (each.frozen or each.dry_run) and not each.expires_at_ms:
            region = f" --region {each.region}" if each.region else ""
            yield Finding(
                what=f"{each.model} is {'frozen' if each.frozen else 'on dry run'}, without end",
                why="it does not scale, whatever happens",
                mend=f"constellation scale {each.model}{region} --clear",
                is_grave=False,
            )
