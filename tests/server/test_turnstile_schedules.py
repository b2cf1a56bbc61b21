"""Ten thousand random schedules of arrive, grant, cancel, time out, resize and die."""

from __future__ import annotations

import pytest

from libs import compiled
from tests import virtual_time
from tests.server.schedules import Schedule

# Where the turnstile is compiled, as on every machine with a compiler; else they take too long.
SCHEDULES, GROUPS = (10_000, 20) if compiled.in_use() else (1_000, 2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", range(GROUPS))
def test_in_every_schedule_permits_are_bounded_and_come_back_and_order_holds(group: int) -> None:
    async def play() -> None:
        for seed in range(group, SCHEDULES, GROUPS):
            try:
                await Schedule(seed).run()
            except AssertionError as error:
                error.add_note(f"in the schedule of seed {seed}")
                raise

    virtual_time.run(play())
