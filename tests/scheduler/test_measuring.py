"""What series are told: demand counts where calls came from, and refused calls are demand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.common.catalog import Backend, Model
from libs.common.world import World
from libs.common.world_map import Colo, EntryLoad, Node, Resource, ShardLoad, Update
from services.scheduler.deciding import Span
from services.scheduler.measuring import Measuring
from services.scheduler.usage import Key, read

MODEL = Model(name="m", task="dumb-pipe", backend=Backend(repository="models/m"))
EU, US = Key("m", "eu"), Key("m", "us")


class Story:
    """A world of two regions, looked at after each change."""

    def __init__(self) -> None:
        self.world = World()
        self.measuring = Measuring()
        self.grows = {EU, US}
        colos = (Colo(name="ams", region="eu"), Colo(name="sfo", region="us"))
        self.put(*colos, Node(name="n1", colo="ams"), Node(name="n2", colo="sfo"), MODEL)
        self.put(load("ams"), load("sfo"), EntryLoad(name="e", colo="ams", boot_epoch=1))
        self.spans()

    def put(self, *resources: Resource) -> None:
        self.world.apply(Update(version=self.world.version + 1, puts=resources))
        self.measuring.look(self.world, read(self.world))

    def spans(self, seconds: float = 10.0) -> dict[Key, Span]:
        return self.measuring.spans(
            until=100.0, seconds=seconds, may_grow=lambda key: key in self.grows
        )


def load(colo: str, **changes: object) -> ShardLoad:
    values: dict[str, object] = {"boot_epoch": 1, "arrivals": 100, "permits": 4, "free": 4}
    return ShardLoad(
        model="m",
        colo=colo,
        index=0,
        server=f"{colo}-1",
        **(values | changes),  # type: ignore[arg-type]
    )


def test_a_span_has_means_of_the_looks_and_what_was_counted() -> None:
    story = Story()
    story.put(load("ams", in_flight=4, free=0, queued=2, arrivals=110, done=3, service_s=6.0))
    story.put(load("ams", in_flight=2, free=2, arrivals=112, done=5, service_s=10.0, waited_1s=1))

    assert story.spans()[EU] == Span(
        until=100.0,
        seconds=10.0,
        load=4.0,
        arrivals=12,
        late=1,
        service_s=2.0,
        saturated=0.5,
        in_flight=3.0,
    )
    assert story.spans() == {}


def test_calls_that_another_region_has_served_count_where_they_came_from() -> None:
    story = Story()
    story.put(
        load("sfo", in_flight=3, arrivals=120, foreign={"ams": 10}, done=10, service_s=20.0),
        load("ams", in_flight=1, arrivals=104, forwarded={"ams": 4}, done=5, service_s=5.0),
    )
    spans = story.spans()

    assert spans[US].load == pytest.approx(3 - 10 * 2.0 / 10)
    assert spans[EU].load == pytest.approx(1 + 10 * 1.0 / 10)
    assert (spans[US].arrivals, spans[EU].arrivals) == (10, 4 + (10 - 4))


def test_where_no_instance_can_be_added_they_count_where_they_are_served() -> None:
    story = Story()
    story.grows = {US}
    story.put(load("sfo", in_flight=3, arrivals=120, foreign={"ams": 10}, rejected={"ams": 2}))
    spans = story.spans()

    assert spans[US].load == pytest.approx(3 + 2 * 1.0 / 10)
    assert spans[US].arrivals == 20
    assert spans[EU].load == 0


def test_what_nobody_served_is_demand_and_late() -> None:
    story = Story()
    story.put(
        load("ams", in_flight=4, free=0, arrivals=120, rejected={"ams": 8}, done=12, service_s=36),
        load("sfo", arrivals=108, foreign={"ams": 8}, rejected={"ams": 8}),
        EntryLoad(name="e", colo="ams", boot_epoch=1, refused={"m": 8}),
    )
    spans = story.spans()

    assert (spans[EU].arrivals, spans[EU].late) == (20, 8)
    assert spans[EU].load == pytest.approx(4 + 8 * 3.0 / 10)
    assert (spans[US].arrivals, spans[US].load) == (0, 0)


def test_calls_that_reached_no_server_count_too() -> None:
    story = Story()
    story.put(EntryLoad(name="e", colo="ams", boot_epoch=1, refused={"m": 5}))

    assert (span := story.spans()[EU]).arrivals == 5
    assert span.load == pytest.approx(5 * 1.0 / 10)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (load("ams", arrivals=107), 7),
        (load("ams", arrivals=9, boot_epoch=2), 9),
        (replace(load("ams", arrivals=30), server="ams-2"), 30),
        (load("ams", arrivals=6), 6),
    ],
    ids=["goes on", "started anew", "moved to another server", "came back to this one"],
)
def test_counters_that_begin_anew_are_counted_from_nothing(now: ShardLoad, expected: int) -> None:
    story = Story()
    story.put(now)

    assert story.spans()[EU].arrivals == expected


def test_what_is_seen_for_the_first_time_has_a_past_that_is_not_counted() -> None:
    story = Story()
    story.put(replace(load("ams", arrivals=9_000), index=1))
    story.put(EntryLoad(name="f", colo="ams", boot_epoch=1, refused={"m": 5_000}))

    assert story.spans()[EU].arrivals == 0
