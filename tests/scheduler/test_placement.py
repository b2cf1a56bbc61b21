"""Where instances go: enough, spread, within what nodes have, and no needless moves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Backend, Model, Resources
from libs.common.world_map import Node
from services.scheduler.placement import FleetState, Placement, Seat, Want, place
from services.scheduler.usage import Key

REGIONS = {"ams": "eu", "lhr": "eu", "sfo": "us"}


def model(name: str = "m", *, dedicated: bool = True, priority: int = 5, **need: float) -> Model:
    return Model(
        name=name,
        task="text-generation",
        backend=Backend(repository=name, dedicated=dedicated),
        priority=priority,
        resources=Resources(**({"cpus": 0} | need)),  # type: ignore[arg-type]
    )


def want(model: Model, instances: int, region: str = "eu") -> Want:
    return Want(model=model, region=region, instances=instances)


def placed(
    wants: list[Want], nodes: list[Node], assigned: dict[Seat, int] | None = None
) -> Placement:
    return place(wants, FleetState(nodes=nodes, assigned=assigned or {}), REGIONS)


def node(name: str, colo: str = "ams", **has: int) -> Node:
    return Node(name=name, colo=colo, **has)  # type: ignore[arg-type]


def test_a_dedicated_model_is_spread_and_then_stacked() -> None:
    found = placed([want(model(), 5)], [node("n1"), node("n2")])

    assert sorted(found.counts.values()) == [2, 3]
    assert found.unmet == {}


def test_a_node_holds_one_instance_of_a_model_that_shares() -> None:
    found = placed([want(model(dedicated=False), 3)], [node("n1"), node("n2")])

    assert found.counts == {Seat("n1", "m"): 1, Seat("n2", "m"): 1}
    assert found.unmet == {
        Key("m", "eu"): "no room for 1: n1 has an instance already; n2 has an instance already"
    }


def test_colos_of_a_region_come_before_nodes_of_a_colo() -> None:
    nodes = [node("a1"), node("a2"), node("a3"), node("l1", "lhr"), node("s1", "sfo")]

    found = placed([want(model(), 2)], nodes)

    assert Counter(seat.node[0] for seat in found.counts) == {"a": 1, "l": 1}


def test_what_is_placed_stays_and_too_much_goes_from_the_fullest() -> None:
    nodes = [node("n1"), node("n2"), node("n3")]
    assigned = {Seat("n1", "m"): 3, Seat("n2", "m"): 1}

    assert placed([want(model(), 4)], nodes, assigned).counts == assigned
    assert placed([want(model(), 5)], nodes, assigned).counts == assigned | {Seat("n3", "m"): 1}
    assert placed([want(model(), 2)], nodes, assigned).counts == {
        Seat("n1", "m"): 1,
        Seat("n2", "m"): 1,
    }
    assert placed([want(model(), 0)], nodes, assigned).counts == {}


def test_what_ran_on_a_node_that_is_gone_is_placed_elsewhere() -> None:
    found = placed([want(model(), 2)], [node("n2")], {Seat("n1", "m"): 1, Seat("n2", "m"): 1})

    assert found.counts == {Seat("n2", "m"): 2}


@pytest.mark.parametrize(
    ("need", "has", "fits", "lacks"),
    [
        ({"cpus": 2}, {"cpus": 4}, 2, "CPUs"),
        ({"memory_mb": 600}, {"memory_mb": 1000}, 1, "memory"),
        ({"cpus": 2, "memory_mb": 600}, {"cpus": 64}, 3, ""),
        ({"gpus": 1}, {}, 0, "GPUs"),
        ({"gpus": 1, "gpu_memory_mb": 9}, {"gpus": 2, "gpu_memory_mb": 9}, 1, "GPU memory"),
    ],
    ids=["cpus", "memory", "memory unknown", "no gpu", "gpu memory"],
)
def test_a_node_takes_no_more_than_it_has(
    need: dict[str, float], has: dict[str, int], fits: int, lacks: str
) -> None:
    found = placed([want(model(**need), 3)], [node("n1", **has)])

    assert sum(found.counts.values()) == fits
    assert found.unmet == (
        {Key("m", "eu"): f"no room for {3 - fits}: n1 lacks {lacks}"} if lacks else {}
    )


def test_a_region_without_nodes_says_so() -> None:
    found = placed([want(model(), 1, "us")], [node("n1")])

    assert found.unmet == {Key("m", "us"): "no room for 1: the region has no nodes"}


def test_priority_chooses_first_but_takes_nothing_away() -> None:
    low, high = model("low", priority=1, cpus=1), model("high", priority=9, cpus=1)
    nodes = [node("n1", cpus=1)]

    assert placed([want(low, 1), want(high, 1)], nodes).counts == {Seat("n1", "high"): 1}
    kept = placed([want(low, 1), want(high, 1)], nodes, {Seat("n1", "low"): 1})
    assert kept.counts == {Seat("n1", "low"): 1}


def test_the_emptier_node_is_taken_first() -> None:
    big, small = model("big", cpus=3), model("small", cpus=1)
    nodes = [node("n1", cpus=4), node("n2", cpus=4)]

    found = placed([want(big, 1), want(small, 1)], nodes, {Seat("n1", "big"): 1})

    assert found.counts == {Seat("n1", "big"): 1, Seat("n2", "small"): 1}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Want], list[Node], dict[Seat, int]]:
    nodes = [
        node(f"n{i}", draw(st.sampled_from(["ams", "lhr", "sfo"])), cpus=draw(st.integers(0, 6)))
        for i in range(draw(st.integers(0, 5)))
    ]
    models = [
        model(f"m{i}", dedicated=draw(st.booleans()), cpus=draw(st.integers(0, 2)))
        for i in range(draw(st.integers(1, 4)))
    ]
    wants = [
        want(each, draw(st.integers(0, 5)), region) for each in models for region in ("eu", "us")
    ]
    return wants, nodes, {}


@given(cases(), st.lists(st.integers(0, 5), min_size=8, max_size=8))
def test_placements_fit_do_not_move_needlessly_and_come_to_rest(
    case: tuple[list[Want], list[Node], dict[Seat, int]], later: list[int]
) -> None:
    wants, nodes, _ = case
    first = placed(wants, nodes)
    changed = [
        Want(model=w.model, region=w.region, instances=count)
        for w, count in zip(wants, later, strict=False)
    ]
    second = placed(changed, nodes, dict(first.counts))

    for these, found in ((wants, first), (changed, second)):
        for each in these:
            total = sum(
                count
                for seat, count in found.counts.items()
                if seat.model == each.model.name
                and any(n.name == seat.node and REGIONS[n.colo] == each.region for n in nodes)
            )
            assert total <= each.instances
            assert (total < each.instances) == (each.key in found.unmet)
            for seat, count in found.counts.items():
                if seat.model == each.model.name and not each.model.backend.dedicated:
                    assert count == 1
        for n in nodes:
            used = sum(
                count * next(w.model.resources.cpus for w in these if w.model.name == seat.model)
                for seat, count in found.counts.items()
                if seat.node == n.name
            )
            assert used <= n.cpus or n.cpus == 0

    # nothing is both taken from one node and given to another of the region
    for each in changed:
        names = {n.name for n in nodes if REGIONS[n.colo] == each.region}
        moves = [
            second.counts.get(Seat(n, each.model.name), 0)
            - first.counts.get(Seat(n, each.model.name), 0)
            for n in names
        ]
        assert not (any(m > 0 for m in moves) and any(m < 0 for m in moves))
    assert placed(changed, nodes, dict(second.counts)).counts == second.counts
