"""One configuration per policy, and what results come to beside others."""

from __future__ import annotations

import pytest

from services.scheduler.simulate.choosing import Choice, Score, best_peer, candidates, chosen
from services.scheduler.simulate.families import CLAIRVOYANT, FAMILIES, NAMES
from services.scheduler.simulate.results import Result, compared, geometric_mean, p99_ms

SLO = 0.01


def result(
    policy: str, trace: str, hours: float, late: float = 0.0, *, a: float | None = None
) -> Result:
    return Result(
        policy=policy,
        trace=trace,
        configuration={} if a is None else {"a": a},
        instance_hours=hours,
        late_share=late,
        late_10s_share=0.0,
        dropped=0,
        longest_wait_s=0,
        scale_actions=0,
        instances_started=0,
    )


def test_the_cheapest_that_keeps_the_slo_everywhere_is_chosen() -> None:
    results = [
        *(result("hpa", "one", 10, a=1), result("hpa", "two", 1, SLO + 0.001, a=1)),
        *(result("hpa", "one", 30, SLO, a=2), result("hpa", "two", 20, a=2)),
        *(result("hpa", "one", 20, a=3), result("hpa", "two", 29, SLO, a=3)),
    ]

    choice = chosen(results, slo=SLO)["hpa"]

    assert choice.configuration == {"a": 3}  # 20 x 29 is less than 30 x 20
    assert choice.score.broken == 0


def test_where_none_keeps_it_the_one_that_breaks_it_least_is_chosen() -> None:
    results = [
        *(result("hpa", "one", 1, 0.02, a=1), result("hpa", "two", 1, 0.02, a=1)),
        *(result("hpa", "one", 9, 0.03, a=2), result("hpa", "two", 9, a=2)),
        *(result("hpa", "one", 5, 0.04, a=3), result("hpa", "two", 5, a=3)),
    ]

    assert chosen(results, slo=SLO)["hpa"].configuration == {"a": 2}


def test_all_configurations_of_a_policy_are_tried() -> None:
    tried = candidates(["hpa", CLAIRVOYANT, "ours"])

    assert {name for name, _ in tried} == {"hpa", "ours"}
    assert len(tried) == sum(len(FAMILIES[name].configurations) for name in ("hpa", "ours"))
    assert len(candidates(NAMES)) > 100


def test_the_best_peer_kept_the_slo_where_it_was_chosen_and_is_cheap_where_it_is_shown() -> None:
    kept, broken = Score(0, 0.0, 1.0), Score(1, 0.1, 1.0)
    choices = {
        name: Choice(score, {})
        for name, score in (("hpa", kept), ("ray", kept), ("kpa", broken), ("ours", kept))
    }
    shown = [
        *(result("hpa", "one", 10), result("hpa", "two", 40)),
        *(result("ray", "one", 15, 0.5), result("ray", "two", 20, 0.5)),
        *(result("kpa", "one", 1), result("kpa", "two", 1)),
        *(result("ours", "one", 2), result("ours", "two", 2)),
    ]

    assert best_peer(choices, shown, slo=SLO) == "ray"
    assert best_peer({"ours": Choice(kept, {})}, shown, slo=SLO) == ""


def test_results_of_a_trace_are_compared() -> None:
    results = [
        result("static", "one", 40),
        result("hpa", "one", 20, SLO),
        result("queue", "one", 5, 0.5),
        result("ours", "one", 12),
        result("clairvoyant", "one", 10, 0.001),
    ]

    found = compared(results, slo=SLO)
    named = compared(results, slo=SLO, best_peer="queue")

    assert [each.ratio_to_clairvoyant for each in found] == [4, 2, 0.5, 1.2, 1]
    assert [each.ratio_to_best_peer for each in found] == [2, 1, 0.25, 0.6, 0.5]
    assert [each.ratio_to_best_peer for each in named] == [8, 4, 1, 2.4, 2]


def test_what_there_is_nothing_to_compare_with_has_no_ratio() -> None:
    (alone,) = compared([result("ours", "one", 12)], slo=SLO)

    assert (alone.ratio_to_clairvoyant, alone.ratio_to_best_peer) == (None, None)


def test_a_geometric_mean_needs_all_ratios() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2)
    assert geometric_mean([1.0, None]) is None
    assert geometric_mean([]) is None


def test_the_time_that_most_decisions_took_is_in_milliseconds() -> None:
    assert p99_ms([1_000_000] * 990 + [9_000_000] * 10) == pytest.approx(1.0, abs=0.1)
    assert p99_ms([]) is None
