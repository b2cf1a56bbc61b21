"""The simulation of endpoint choice: its bars hold, and it measures what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import affinity, conversations
from bench.adapters import ADAPTERS, FEW, Calls
from bench.conversations import Cache
from bench.fleet import Fleet, a_call, at_random, emptier, ours

# As in the benchmark, with fewer calls: time is simulated, so a seed gives the same each time.
WARM_UP, REQUESTS = 1_000, 3_000


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 6))]
)
def test_every_bar_is_kept(seed: int) -> None:
    rows = list(affinity.measure([seed], warm_up=WARM_UP, requests=REQUESTS))

    told = {each["what"]: each for each in affinity.verdicts(rows)}
    assert {each["verdict"] for each in told.values()} == {"aim reached"}, told
    assert len(told) == 3


@pytest.mark.timeout(120)
def test_the_command_writes_a_table_numbers_and_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, chart = tmp_path / "found.json", tmp_path / "found.png"
    few = ["--seeds", "1", "--requests", "200", "--warm-up", "300"]

    code = affinity.main([*few, "--json", str(found), "--png", str(chart)])

    told = capsys.readouterr().out
    assert "conversations: perfect" in told
    assert "affinity / random, adapters: loads, %" in told
    assert code == ("MISSED" in told)
    assert len(json.loads(found.read_text())["rows"]) == 9
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_a_seed_gives_the_same_numbers_each_time() -> None:
    one, same, other = (
        conversations.measure(ours, seed=seed, warm_up=100, requests=300) for seed in (1, 1, 2)
    )

    assert one == same != other


def test_popular_adapters_are_in_several_places_and_rare_ones_in_one() -> None:
    fleet = Fleet(ours, seed=1, resident=FEW)

    Calls(fleet, seed=1, warm_up=0, requests=6_000).run()

    homes = [
        sum(each.affinity.adapters.holds(f"a{rank}") for each in fleet.endpoints)
        for rank in range(ADAPTERS)
    ]
    assert homes[0] > 1
    assert max(homes[ADAPTERS // 2 :]) == 1
    assert sum(homes) == FEW * len(fleet.endpoints)


def test_a_call_that_finds_no_room_waits_its_turn() -> None:
    fleet = Fleet(ours, seed=1)
    permits = sum(each.concurrency for each in fleet.endpoints)
    began: list[float] = []

    for _ in range(permits + 1):
        fleet.ask(a_call(), 2.0, lambda _: began.append(fleet.now))
    fleet.run(lambda: len(began) > permits)

    assert began[-2:] == [0.0, 2.0]


@pytest.mark.parametrize("pick", [ours, emptier, at_random])
def test_nobody_is_sent_where_no_room_is(pick: object) -> None:
    fleet = Fleet(pick, seed=1)  # type: ignore[arg-type]
    for each in fleet.endpoints:
        each.in_flight = each.concurrency
    assert pick(fleet, a_call()) is None  # type: ignore[operator]

    fleet.endpoints[2].in_flight -= 1

    assert pick(fleet, a_call()) is fleet.endpoints[2]  # type: ignore[operator]


def test_the_fullest_is_told_by_the_mean_over_time() -> None:
    fleet = Fleet(lambda fleet, request: fleet.endpoints[int(request.adapter)], seed=1)
    for name, seconds in (("0", 3.0), ("1", 1.0)):
        request = a_call()
        request.adapter = name
        fleet.ask(request, seconds, lambda _: None)

    fleet.run(lambda: fleet.now >= 3.0)

    assert fleet.fullest == 3.0  # of four endpoints with one call's second each on average


def test_a_cache_knows_as_much_of_a_prompt_as_it_has_read() -> None:
    cache = Cache()

    cache.read([1, 2, 3])

    assert cache.known([1, 2, 3, 4, 5]) == 3
    assert cache.known([1, 2]) == 2
    assert cache.known([7, 8, 9]) == 0
    assert cache.known([]) == 0
