"""How late a loop is."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry, generate_latest

from libs.common.lifecycle import background
from libs.common.loop_lag import LoopLag


def shown(registry: CollectorRegistry, name: str) -> float:
    lines = generate_latest(registry).decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).rsplit(" ", 1)[1])


def test_each_look_is_in_its_bucket_and_all_above() -> None:
    registry = CollectorRegistry()
    lag = LoopLag(registry)

    for seconds in (0.0, 0.004, 0.005, 0.006, 9.0):
        lag.late(seconds)

    name = "constellation_event_loop_lag_seconds"
    assert shown(registry, f'{name}_bucket{{le="0.001"}}') == 1
    assert shown(registry, f'{name}_bucket{{le="0.005"}}') == 3
    assert shown(registry, f'{name}_bucket{{le="2.5"}}') == 4
    assert shown(registry, f"{name}_count") == 5
    assert abs(shown(registry, f"{name}_sum") - 9.015) < 1e-9


async def test_what_blocks_the_loop_is_seen() -> None:
    registry = CollectorRegistry()
    lag = LoopLag(registry)

    async with background(lag.run(), name="lag"):
        await asyncio.sleep(0.01)
        time.sleep(0.2)
        await asyncio.sleep(0.01)
        tasks = shown(registry, "constellation_event_loop_tasks")

    assert shown(registry, "constellation_event_loop_lag_seconds_sum") > 0.1
    assert tasks >= 2  # the test's, and the one that looks


async def test_a_loop_that_stands_still_is_seen_from_outside() -> None:
    lag = LoopLag(CollectorRegistry())
    assert lag.stuck_s() == 0

    async with background(lag.run(), name="lag"):
        await asyncio.sleep(0.01)
        time.sleep(0.2)
        stuck_s = lag.stuck_s()
        await asyncio.sleep(0.03)

        assert stuck_s > 0.15
        assert lag.stuck_s() < stuck_s


async def test_it_looks_until_it_is_cancelled() -> None:
    lag = LoopLag(CollectorRegistry())

    async with background(lag.run(), name="lag"):
        await asyncio.sleep(0.07)
    looks = repr(lag)
    await asyncio.sleep(0.05)

    assert looks == repr(lag)
    assert not looks.startswith("<LoopLag 0 looks")
