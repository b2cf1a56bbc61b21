"""Who has how many where not all fits: so that few models are served, rather than none in time."""

from __future__ import annotations

import pytest

from libs.common.catalog import Backend, Model, Resources
from libs.common.world_map import Node
from services.scheduler.placement import FleetState, Seat, place
from services.scheduler.rationing import place_rationed
from services.scheduler.worth import Want

REGIONS = {"ams": "eu"}
ALL_OR_NOTHING = (0.0, 0.0, 0.0, 0.0, 90.0)  # of four instances the first three spare nothing


def model(name: str, *, priority: int = 5, gpus: int = 1) -> Model:
    return Model(
        name=name,
        task="text-generation",
        backend=Backend(repository=name, dedicated=True),
        priority=priority,
        resources=Resources(cpus=0, gpus=gpus),
    )


def want(
    of: Model, instances: int = 4, spared: tuple[float, ...] = ALL_OR_NOTHING, *, least: int = 0
) -> Want:
    each = (spared[-1] / (len(spared) - 1),) * (len(spared) - 1) if spared else ()
    return Want(model=of, region="eu", instances=instances, least=least, worth=each, spared=spared)


def fleet(places: int, assigned: dict[Seat, int] | None = None) -> FleetState:
    return FleetState(nodes=[Node(name="n1", colo="ams", gpus=places)], assigned=assigned or {})


def counts(wants: list[Want], state: FleetState) -> dict[str, int]:
    found = place_rationed(wants, state, REGIONS)
    return {seat.model: count for seat, count in found.counts.items() if count}


def test_what_fits_is_placed_as_it_is() -> None:
    wants = [want(model("a"), 2), want(model("b"), 2)]

    assert place_rationed(wants, fleet(4), REGIONS) == place(wants, fleet(4), REGIONS)


def test_one_model_has_all_that_it_needs_where_two_would_have_too_little() -> None:
    wants = [want(model("a")), want(model("b"))]
    before = {Seat("n1", "a"): 3, Seat("n1", "b"): 3}

    one_by_one = place(wants, fleet(6, before), REGIONS)
    found = place_rationed(wants, fleet(6, before), REGIONS)

    assert sorted(one_by_one.counts.values()) == [3, 3]
    assert 4 in found.counts.values()
    assert any("spares more late calls" in why for why in found.unmet.values())


def test_who_has_what_it_needs_keeps_it() -> None:
    wants = [want(model("a")), want(model("b"))]

    assert counts(wants, fleet(6, {Seat("n1", "b"): 4, Seat("n1", "a"): 1}))["b"] == 4


def test_what_is_promised_is_kept() -> None:
    wants = [want(model("a"), least=1), want(model("b"), least=1)]

    found = counts(wants, fleet(5))

    assert sorted(found.values()) == [1, 4]


def test_priorities_come_first() -> None:
    wants = [want(model("a", priority=1)), want(model("b", priority=9))]

    assert counts(wants, fleet(5))["b"] == 4


@pytest.mark.parametrize(
    "other",
    [want(model("b", gpus=2)), want(model("b"), spared=())],
    ids=["of another size", "of which nothing is known"],
)
def test_who_cannot_share_is_placed_one_by_one(other: Want) -> None:
    wants = [want(model("a")), other]

    assert place_rationed(wants, fleet(6), REGIONS) == place(wants, fleet(6), REGIONS)


def test_what_is_left_is_given_away_to_who_has_it() -> None:
    wants = [want(model("a")), want(model("b")), want(model("c"))]
    before = {Seat("n1", "c"): 2, Seat("n1", "b"): 4}

    assert counts(wants, fleet(7, before)) == {"b": 4, "c": 2, "a": 1}


def test_each_lack_is_told() -> None:
    wants = [want(model("a")), want(model("b"))]

    found = place_rationed(wants, fleet(6), REGIONS)

    (key,) = found.unmet
    assert found.counts[Seat("n1", key.model)] == 2
    assert found.unmet[key].startswith("no room for 2: ")
