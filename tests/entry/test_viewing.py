"""What an account may see of the world."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Access, Model
from libs.common.world import World
from libs.common.world_map import (
    Decision,
    EndpointLoad,
    EntryLoad,
    Instance,
    Node,
    Resource,
    ShardLoad,
)
from services.entry.viewing import View, described, rows
from tests.entry.fakes import OTHER_ACCOUNT, PRIVATE, TEXT, TEXT_MODEL, small_world
from tests.fakes import put

THEIRS = Model(name=PRIVATE, task="text-embeddings", access=Access(accounts=(OTHER_ACCOUNT,)))


def seen(*resources: Resource, models: Any = (TEXT_MODEL,), most: int = 99, **said: Any) -> Any:
    world = small_world("ams", "iad")
    put(world, *resources)
    return gathered(world, models, most=most, sees_all=said.get("sees_all", False))


def gathered(world: World, models: Any, *, most: int, sees_all: bool) -> Any:
    found = View(most)
    for name, row in rows(world, models, runs={TEXT}, sees_all=sees_all):
        found.add(name, row)
    return found.sections()


def load(index: int, server: str = "server-ams", **said: Any) -> ShardLoad:
    return ShardLoad(model=TEXT, colo="ams", index=index, server=server, **said)


def test_the_shards_of_a_model_in_a_colo_are_added_up() -> None:
    sick = EndpointLoad(instance="a", address="h:1", state="backoff")
    well = EndpointLoad(instance="b", address="h:2", state="healthy")

    found = seen(
        load(0, permits=4, free=1, queued=2, arrivals=9, endpoints=(sick, well)),
        load(1, permits=4, free=4, arrivals=1, rejected={"iad": 3}, endpoints=(well,)),
    )

    (row,) = (each for each in found["loads"] if each["colo"] == "ams")
    assert (row["permits"], row["free"], row["queued"], row["arrivals"]) == (8, 5, 2, 10)
    assert (row["healthy"], row["backoff"], row["rejected"]) == (2, 1, 3)


def test_a_colo_tells_who_is_there() -> None:
    found = seen(Node(name="n", colo="iad"))

    told = {each["name"]: (each["servers"], each["nodes"]) for each in found["colos"]}
    assert told == {"ams": (1, 0), "iad": (1, 1)}


def test_what_runs_models_of_others_is_not_shown() -> None:
    theirs = (
        THEIRS,
        ShardLoad(model=PRIVATE, colo="ams", index=0, server="server-ams", permits=1),
        Instance(id="i", model=PRIVATE, colo="ams"),
        Decision(
            model=PRIVATE,
            region="",
            at_ms=1,
            demand=1,
            forecast=1,
            running=1,
            required=1,
            desired=1,
        ),
        EntryLoad(name="entry", colo="ams", refused={PRIVATE: 3}),
    )

    assert PRIVATE not in str(seen(*theirs))
    assert seen(*theirs)["entries"] == []


def test_operators_see_all_and_where_it_runs() -> None:
    there = Instance(id="n/m/0", model=TEXT, colo="ams", address="10.0.0.7:8001", message="no room")
    refusing = EntryLoad(name="entry", colo="ams", refused={TEXT: 3, PRIVATE: 1})

    found = seen(THEIRS, there, refusing, models=(TEXT_MODEL, THEIRS), sees_all=True)

    assert [each["name"] for each in found["models"]] == [TEXT, PRIVATE]
    assert found["instances"][0]["address"] == "10.0.0.7:8001"
    assert found["instances"][0]["message"] == "no room"
    assert found["entries"] == [{"name": "entry", "colo": "ams", "refused": 4}]
    assert OTHER_ACCOUNT in [each["id"] for each in found["accounts"]]


def test_addresses_messages_and_accounts_are_for_operators_alone() -> None:
    there = (
        Instance(id="n/m/0", model=TEXT, colo="ams", address="10.0.0.7:8001", message="no room"),
        Instance(
            id=f"external/10.0.0.8:1/{TEXT}@ams",
            model=TEXT,
            colo="ams",
            address="10.0.0.8:1",
            external=True,
        ),
    )

    found = seen(*there)

    assert "10.0.0" not in str(found)
    assert "no room" not in str(found)
    assert OTHER_ACCOUNT not in str(found)
    assert len({each["id"] for each in found["instances"]}) == 2


def test_a_model_that_is_seen_but_not_run_says_so() -> None:
    found = seen(models=(TEXT_MODEL, THEIRS))

    assert {each["name"]: each["runs"] for each in found["models"]} == {TEXT: True, PRIVATE: False}


@given(st.integers(1, 12), st.integers(0, 30))
def test_no_section_has_more_rows_than_it_may(most: int, count: int) -> None:
    instances = [Instance(id=f"{number:02}", model=TEXT, colo="ams") for number in range(count)]

    found = seen(*instances, most=most)

    assert all(len(rows) <= most for name, rows in found.items() if name != "cut")
    assert found["cut"].get("instances", 0) == (count if count > most else 0)


def test_a_decision_is_told_with_three_of_its_quantiles() -> None:
    decision = Decision(
        model=TEXT,
        region="eu",
        at_ms=7,
        demand=2.0,
        forecast=5.0,
        running=1,
        required=2,
        desired=2,
        probabilities=(0.1, 0.5, 0.89, 0.92, 0.98),
        quantiles=(1.0, 2.0, 4.0, 5.0, 6.0),
        weights={"last": 0.9, "hour": 0.001},
    )

    told = described(decision)

    assert told["quantiles"] == [2.0, 4.0, 6.0]
    assert told["weights"] == {"last": 0.9}


def test_an_empty_world_is_empty_sections() -> None:
    found = dict(gathered(World(), (), sees_all=True, most=5))

    assert found.pop("cut") == {}
    assert set(map(len, found.values())) == {0}
