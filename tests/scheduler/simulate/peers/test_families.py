"""What all peers keep to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.simulate.peers import PEERS
from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.policy import Family, Terms
from tests.scheduler.simulate.peers.seen import followed


def test_a_grid_begins_with_what_is_published_and_has_it_once() -> None:
    assert grid({"a": 2.0, "b": 3.0}, a=(1.0, 2.0), b=(3.0,)) == (
        {"a": 2.0, "b": 3.0},
        {"a": 1.0, "b": 3.0},
    )


def test_names_are_the_commands() -> None:
    assert {family.name for family in PEERS} == {
        "static", "hpa", "kpa", "ray", "sky", "queue", "dynamo", "ai5m", "hpa-slo",
    }  # fmt: skip


@pytest.mark.parametrize("family", PEERS, ids=lambda family: family.name)
def test_every_configuration_can_be_made(family: Family) -> None:
    for values in family.configurations:
        assert repr(family.make(Terms(), **values)).startswith("<")


@pytest.mark.parametrize("family", PEERS, ids=lambda family: family.name)
@settings(max_examples=20, deadline=None)
@given(demands=st.lists(st.floats(0, 1000), min_size=1, max_size=100))
def test_no_load_makes_a_peer_want_nonsense(family: Family, demands: list[float]) -> None:
    policy = family.make(Terms(), **family.configurations[0])

    wanted = followed(policy, demands, ready=3)

    assert all(isinstance(each, int) and each >= 0 for each in wanted)


@pytest.mark.parametrize("family", [f for f in PEERS if f.name != "static"], ids=lambda f: f.name)
def test_a_steady_load_is_covered_in_the_end(family: Family) -> None:
    policy = family.make(Terms(permits=10, service_mean_s=1.0), **family.configurations[0])

    wanted = followed(policy, [40.0] * 200, ready=1)

    assert 4 <= wanted[-1] <= 20
