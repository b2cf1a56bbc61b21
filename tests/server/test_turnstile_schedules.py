"""Ten thousand random schedules of arrive, grant, cancel, time out, resize and die."""

from __future__ import annotations

import pytest

from tests import virtual_time
from tests.server.schedules import Schedule

SCHEDULES = 10_000
GROUPS = 20


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
