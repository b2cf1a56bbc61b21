"""Where instances go: enough, spread, within what nodes have, and no needless moves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Backend, Model, Resources
from libs.common.world_map import Node
from services.scheduler.placement import FleetState, Placement, Seat, left_there, place
from services.scheduler.usage import Key
from services.scheduler.worth import Want

REGIONS = {"ams": "eu", "lhr": "eu", "sfo": "us"}


def model(name: str = "m", *, dedicated: bool = True, priority: int = 5, **need: float) -> Model:
    return Model(
        name=name,
        task="text-generation",
        backend=Backend(repository=name, dedicated=dedicated),
        priority=priority,
        resources=Resources(**({"cpus": 0} | need)),  # type: ignore[arg-type]
    )


def want(model: Model, instances: int, region: str = "eu", **more: Any) -> Want:
    return Want(model=model, region=region, instances=instances, **more)


def placed(
    wants: list[Want], nodes: list[Node], assigned: dict[Seat, int] | None = None
) -> Placement:
    return place(wants, FleetState(nodes=nodes, assigned=assigned or {}), REGIONS)


def node(name: str, colo: str = "ams", **has: Any) -> Node:
    return Node(name=name, colo=colo, **has)


def test_a_dedicated_model_is_spread_and_then_stacked() -> None:
    found = placed([want(model(), 5)], [node("n1"), node("n2")])

    assert sorted(found.counts.values()) == [2, 3]
    assert found.unmet == {}


def test_a_node_holds_one_instance_of_a_model_that_shares() -> None:
    found = placed([want(model(dedicated=False), 3)], [node("n1"), node("n2")])

    assert found.counts == {Seat("n1", "m"): 1, Seat("n2", "m"): 1}
    assert found.unmet == {Key("m", "eu"): "no room for 1: there is an instance on n1, n2"}


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


@pytest.mark.parametrize(
    ("ready", "left"),
    [
        ({"n1": 3}, {"n1": 3}),
        ({"n1": 2, "n2": 1}, {"n1": 2, "n2": 1}),
        ({"n1": 1, "n2": 1}, {"n1": 2, "n2": 1}),
        ({}, {"n1": 2, "n2": 1}),
        ({"n1": 3, "n2": 1}, {"n1": 2, "n2": 1}),
    ],
    ids=["the other boots", "one here fails", "two here boot", "none is ready", "all are"],
)
def test_what_is_too_much_goes_first_where_it_is_not_ready(
    ready: dict[str, int], left: dict[str, int]
) -> None:
    fleet = FleetState(
        nodes=[node("n1"), node("n2")],
        assigned={Seat("n1", "m"): 3, Seat("n2", "m"): 1},
        ready={Seat(name, "m"): count for name, count in ready.items()},
    )

    found = place([want(model(), 3)], fleet, REGIONS)

    assert found.counts == {Seat(name, "m"): count for name, count in left.items()}


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
        ({"gpus": 1, "gpu_memory_mb": 9}, {"gpus": 2, "gpu_memory_mb": 9}, 2, "GPUs"),
        ({"gpus": 1, "gpu_memory_mb": 9}, {"gpus": 2, "gpu_memory_mb": 8}, 0, "GPU memory"),
        ({"gpu_memory_mb": 5}, {"gpus": 2, "gpu_memory_mb": 9}, 2, "GPU memory"),
        ({"gpu_memory_mb": 3}, {"gpus": 2, "gpu_memory_mb": 9}, 3, ""),
    ],
    ids=[
        "cpus",
        "memory",
        "memory unknown",
        "no gpu",
        "whole gpus",
        "small gpus",
        "parts of gpus do not span two",
        "parts share a gpu",
    ],
)
def test_a_node_takes_no_more_than_it_has(
    need: dict[str, float], has: dict[str, int], fits: int, lacks: str
) -> None:
    found = placed([want(model(**need), 3)], [node("n1", **has)])

    assert sum(found.counts.values()) == fits
    assert found.unmet == (
        {Key("m", "eu"): f"no room for {3 - fits}: not enough {lacks} on n1"} if lacks else {}
    )


def test_a_region_without_nodes_says_so() -> None:
    found = placed([want(model(), 1, "us")], [node("n1")])

    assert found.unmet == {Key("m", "us"): "no room for 1: the region has no nodes"}


def test_reasons_are_told_once_and_of_few_nodes_by_name() -> None:
    nodes = [node(f"n{i}", cpus=1) for i in range(5)]

    found = placed([want(model(cpus=2), 1)], [*nodes, node("big", cpus=9, memory_mb=1)])
    full = placed([want(model(cpus=2, memory_mb=5), 1)], [*nodes, node("big", cpus=9, memory_mb=1)])

    assert found.unmet == {}
    assert full.unmet == {
        Key("m", "eu"): "no room for 1: not enough CPUs on n0, n1, n2 and 2 more; "
        "not enough memory on big"
    }


LOW, HIGH = model("low", priority=1, cpus=1), model("high", priority=9, cpus=1)
ONE = [node("n1", cpus=1)]


def test_a_higher_priority_chooses_first_and_is_given_way_to() -> None:
    assert placed([want(LOW, 1), want(HIGH, 1)], ONE).counts == {Seat("n1", "high"): 1}

    found = placed([want(LOW, 1), want(HIGH, 1)], ONE, {Seat("n1", "low"): 1})

    assert found.counts == {Seat("n1", "high"): 1}
    assert found.unmet == {
        Key("low", "eu"): "no room for 1: not enough CPUs on n1; what runs there comes first"
    }


def test_what_is_promised_to_one_is_given_to_no_higher_priority() -> None:
    found = placed([want(LOW, 1, least=1), want(HIGH, 1)], ONE, {Seat("n1", "high"): 1})

    assert found.counts == {Seat("n1", "low"): 1}


def test_models_of_one_priority_lack_the_same_share() -> None:
    a, b = model("a", cpus=1), model("b", cpus=1)

    found = placed([want(a, 2), want(b, 6)], [node("n1", cpus=4)])

    assert found.counts == {Seat("n1", "a"): 1, Seat("n1", "b"): 3}


@pytest.mark.parametrize(
    ("worth_a", "worth_b", "runs"),
    [
        ((9.0, 8.0), (3.0, 1.0), {"a": 2}),
        ((9.0, 1.0), (3.0, 1.0), {"a": 1, "b": 1}),
    ],
    ids=["all to one", "one each"],
)
def test_an_instance_goes_to_whom_it_is_worth_most(
    worth_a: tuple[float, ...], worth_b: tuple[float, ...], runs: dict[str, int]
) -> None:
    a, b = model("a", cpus=1), model("b", cpus=1)
    wants = [want(a, 2, worth=worth_a), want(b, 2, worth=worth_b)]
    nodes = [node("n1", cpus=2)]

    for before in ({"b": 2}, {"a": 1, "b": 1}, {}):
        found = placed(wants, nodes, {Seat("n1", name): n for name, n in before.items()})
        assert found.counts == {Seat("n1", name): n for name, n in runs.items()}


def test_what_is_hardly_worth_more_is_not_worth_a_move() -> None:
    a, b = model("a", cpus=1), model("b", cpus=1)
    wants = [want(a, 1, worth=(1.1,)), want(b, 2, worth=(3.0, 1.0))]

    for assigned in ({Seat("n1", "b"): 2}, {Seat("n1", "a"): 1, Seat("n1", "b"): 1}):
        assert placed(wants, [node("n1", cpus=2)], assigned).counts == assigned


def test_no_more_give_way_than_must() -> None:
    small, large = model("small", priority=1, cpus=1), model("large", cpus=2)
    nodes = [node("n1", cpus=3), node("n2", cpus=2)]
    assigned = {Seat("n1", "small"): 3, Seat("n2", "small"): 2}

    found = placed([want(small, 5), want(large, 1)], nodes, assigned)

    assert sum(found.counts.values()) == 4
    assert sum(count for seat, count in found.counts.items() if seat.model == "large") == 1


def test_many_do_not_give_way_to_one_that_is_worth_less_than_all_of_them() -> None:
    small, large = model("small", cpus=1), model("large", cpus=2)
    wants = [want(small, 2, worth=(5.0, 4.0)), want(large, 1, worth=(8.0,))]
    assigned = {Seat("n1", "small"): 2}

    assert placed(wants, [node("n1", cpus=2)], assigned).counts == assigned


def test_nodes_that_have_the_weights_come_first() -> None:
    nodes = [node("n1"), node("n2", weights=("m",)), node("n3", weights=("m",))]

    assert placed([want(model(), 1)], nodes).counts == {Seat("n2", "m"): 1}
    assert placed([want(model(), 2)], nodes).counts == {Seat("n2", "m"): 1, Seat("n3", "m"): 1}


def test_whole_gpus_stay_whole_for_those_that_need_them() -> None:
    part, whole = model("part", gpu_memory_mb=4), model("whole", gpus=1, gpu_memory_mb=9)
    nodes = [node("n1", gpus=1, gpu_memory_mb=9), node("n2", gpus=1, gpu_memory_mb=9)]

    found = placed([want(part, 2), want(whole, 1)], nodes, {Seat("n1", "part"): 1})

    assert found.unmet == {}


def test_what_needs_no_gpu_leaves_the_nodes_that_have_some() -> None:
    nodes = [node("a1", gpus=8, gpu_memory_mb=9), node("a2")]

    assert placed([want(model(), 1)], nodes).counts == {Seat("a2", "m"): 1}


def test_the_emptier_node_is_taken_first() -> None:
    big, small = model("big", cpus=3), model("small", cpus=1)
    nodes = [node("n1", cpus=4), node("n2", cpus=4)]

    found = placed([want(big, 1), want(small, 1)], nodes, {Seat("n1", "big"): 1})

    assert found.counts == {Seat("n1", "big"): 1, Seat("n2", "small"): 1}


TWO = [node("a", cpus=4), node("dead", cpus=4)]


def without(
    wants: list[Want], assigned: dict[Seat, int], *, lost: int = 0, nodes: list[Node] = TWO
) -> tuple[Placement, dict[Seat, int]]:
    """Place with a node that is silent, and return what stays assigned there for want of room."""
    gone = {Seat("dead", "m"): lost} if lost else {}
    fleet = FleetState(nodes=nodes, assigned=assigned, away=frozenset({"dead"}), lost=gone)
    found = place(wants, fleet, REGIONS)
    return found, left_there(wants, found.counts, fleet, REGIONS)


ONE_EACH = {Seat("a", "m"): 1, Seat("dead", "m"): 1}


@pytest.mark.parametrize(
    ("instances", "lost", "on_a", "on_dead"),
    [(2, 0, 1, 1), (4, 0, 3, 1), (1, 0, 1, 0), (2, 1, 2, 0), (4, 1, 4, 0)],
    ids=["as it is", "more", "fewer", "lost", "lost, and more"],
)
def test_a_silent_node_keeps_what_it_has_gets_nothing_and_loses_it_first(
    instances: int, lost: int, on_a: int, on_dead: int
) -> None:
    found, left = without([want(model(cpus=1), instances)], ONE_EACH, lost=lost)

    assert found.counts == {
        seat: count
        for seat, count in ((Seat("a", "m"), on_a), (Seat("dead", "m"), on_dead))
        if count
    }
    assert found.unmet == {}
    assert left == {}


def test_what_is_lost_stays_assigned_as_far_as_there_is_no_room_elsewhere() -> None:
    assigned = {Seat("a", "m"): 3, Seat("dead", "m"): 3}

    found, left = without([want(model(cpus=1), 6)], assigned, lost=3)

    assert found.counts == {Seat("a", "m"): 4}
    assert left == {Seat("dead", "m"): 2}
    assert found.unmet == {
        Key("m", "eu"): "no room for 2: not enough CPUs on a; no sign of the agent on dead"
    }


def test_nobody_gives_way_on_a_silent_node() -> None:
    wants = [want(LOW, 1), want(HIGH, 1)]
    assigned = {Seat("dead", "low"): 1}

    found, _ = without(wants, assigned, nodes=[node("dead", cpus=1)])

    assert found.counts == assigned
    assert found.unmet == {Key("high", "eu"): "no room for 1: no sign of the agent on dead"}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Want], list[Node], dict[Seat, int]]:
    nodes = [
        node(f"n{i}", draw(st.sampled_from(["ams", "lhr", "sfo"])), cpus=draw(st.integers(0, 6)))
        for i in range(draw(st.integers(0, 5)))
    ]
    models = [
        model(
            f"m{i}",
            dedicated=draw(st.booleans()),
            priority=draw(st.integers(4, 6)),
            cpus=draw(st.integers(0, 2)),
        )
        for i in range(draw(st.integers(1, 4)))
    ]
    wants = [
        want(each, draw(st.integers(0, 5)), region, least=draw(st.integers(0, 1)))
        for each in models
        for region in ("eu", "us")
    ]
    return wants, nodes, {}


@given(cases(), st.lists(st.integers(0, 5), min_size=8, max_size=8))
def test_placements_fit_do_not_move_needlessly_and_come_to_rest(
    case: tuple[list[Want], list[Node], dict[Seat, int]], later: list[int]
) -> None:
    wants, nodes, _ = case
    first = placed(wants, nodes)
    changed = [replace(w, instances=count) for w, count in zip(wants, later, strict=False)]
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

    # nothing is both taken from one node and given to another, unless it has given way
    for each in changed:
        names = {n.name for n in nodes if REGIONS[n.colo] == each.region}
        moves = {n: moved(first, second, n, each.model.name) for n in names}
        for name in (n for n, m in moves.items() if m < 0 and max(moves.values()) > 0):
            others = (w.model.name for w in changed if w.region == each.region)
            assert any(moved(first, second, name, other) > 0 for other in others)
    assert placed(changed, nodes, dict(second.counts)).counts == second.counts


def moved(first: Placement, second: Placement, node: str, model: str) -> int:
    seat = Seat(node, model)
    return second.counts.get(seat, 0) - first.counts.get(seat, 0)
