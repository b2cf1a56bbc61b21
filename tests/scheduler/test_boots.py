"""How long a boot takes: what was given, until it has been seen."""

from __future__ import annotations

from libs.common.world import World
from libs.common.world_map import Colo, Instance, InstanceState, Update
from services.scheduler.boots import KEPT, Boots
from services.scheduler.usage import Key

EU, US = Key("m", "eu"), Key("m", "us")


class Story:
    def __init__(self) -> None:
        self.world = World()
        self.boots = Boots()
        colos = (Colo(name="ams", region="eu"), Colo(name="sfo", region="us"))
        self.world.apply(Update(version=1, complete=True, puts=colos))

    def see(
        self, boot_s: float, *, since_ms: int = 1, state: InstanceState = "ready", id: str = "i"
    ) -> None:
        seen = Instance(
            id=id, model="m", colo="ams", node="n", state=state, boot_s=boot_s, since_ms=since_ms
        )
        self.world.apply(Update(version=self.world.version + 1, puts=(seen,)))
        self.boots.look(self.world)


def test_what_was_given_counts_until_a_boot_has_ended() -> None:
    story = Story()
    story.see(0.0, state="booting")
    assert story.boots.of(EU) is None

    story.see(4.0)

    assert story.boots.of(EU) == 4.0
    assert story.boots.of(US) is None
    assert story.boots.measured() == {EU: 4.0}


def test_each_boot_counts_once_and_three_quarters_were_as_short() -> None:
    story = Story()
    for number, boot_s in enumerate((1.0, 2.0, 3.0, 90.0)):
        story.see(boot_s, since_ms=number)
        story.see(boot_s, since_ms=number)

    assert story.boots.of(EU) == 90.0

    for number in range(4, 9):
        story.see(3.0, since_ms=number)

    assert story.boots.of(EU) == 3.0


def test_only_the_last_boots_count() -> None:
    story = Story()
    story.see(90.0, since_ms=1)
    for number in range(KEPT):
        story.see(2.0, since_ms=2 + number, id=f"i{number}")

    assert story.boots.of(EU) == 2.0


def test_what_an_earlier_life_has_measured_counts_before_what_was_given() -> None:
    boots = Boots(known={EU: 30.0})

    assert boots.of(EU) == 30.0
    assert boots.measured() == {EU: 30.0}
