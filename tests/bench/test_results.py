"""Rounds to results, and results to verdicts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.chart import order
from bench.report import number, table, verdict_table, warnings, with_spread, workload_table
from bench.results import compared, results
from bench.verdict import BARS, Bar, verdicts


def row(round_: int, target: str, workload: str = "unary", **fields: Any) -> dict[str, Any]:
    cost = fields.get("cpu_us", 10.0)
    return {
        "round": round_,
        "target": target,
        "workload": workload,
        "rps_per_core": 1e6 / cost,
        "rss_mb": 50.0,
        "cpu_us": cost,
        **fields,
    }


ROUNDS = [
    row(0, "fused", cpu_us=20.0, added_p50_us=300.0),
    row(0, "envoy", cpu_us=40.0, added_p50_us=400.0),
    row(1, "envoy", cpu_us=30.0, added_p50_us=200.0),
    row(1, "fused", cpu_us=30.0, added_p50_us=100.0),
    row(2, "fused", cpu_us=27.0),
]
FIELDS = {
    "target",
    "workload",
    "cpu_us",
    "cpu_us_min",
    "cpu_us_max",
    "rps_per_core",
    "added_p50_us",
    "added_p99_us",
    "jitter_p99_us",
    "rss_mb",
    "ratio_to_envoy",
    "ratio_to_envoy_min",
    "ratio_to_envoy_max",
}


def test_a_result_has_every_field_and_null_where_it_does_not_apply() -> None:
    for result in results(ROUNDS):
        assert result.keys() >= FIELDS
        assert result["jitter_p99_us"] is None
    json.dumps(results(ROUNDS), allow_nan=False)


def test_a_result_is_the_median_of_its_rounds_with_the_outermost() -> None:
    fused, _ = results(ROUNDS)

    assert (fused["cpu_us"], fused["cpu_us_min"], fused["cpu_us_max"]) == (27.0, 20.0, 30.0)
    assert fused["rounds"] == 3


def test_the_ratio_to_envoy_is_of_the_rounds_in_which_both_were_measured() -> None:
    fused, envoy = results(ROUNDS)

    assert fused["ratio_to_envoy"] == 0.75
    assert (fused["ratio_to_envoy_min"], fused["ratio_to_envoy_max"]) == (0.5, 1.0)
    assert envoy["ratio_to_envoy"] == 1.0


def test_without_envoy_there_is_no_ratio() -> None:
    (fused,) = results([row(0, "fused")])

    assert fused["ratio_to_envoy"] is None


def test_a_round_that_failed_keeps_the_others_paired() -> None:
    rows = [row(1, "fused", cpu_us=10.0), row(0, "envoy", cpu_us=99.0)]

    assert compared(rows, "fused", "envoy", "unary", "cpu_us") is None


@pytest.mark.parametrize(
    ("bar", "ratio", "expected"),
    [
        (Bar(ours="a", workload="w", field="f", must=1.0, aim=0.7), 0.7, "aim reached"),
        (Bar(ours="a", workload="w", field="f", must=1.0, aim=0.7), 1.0, "must kept"),
        (Bar(ours="a", workload="w", field="f", must=1.0, aim=0.7), 1.01, "MISSED"),
        (
            Bar(ours="a", workload="w", field="f", must=0.8, aim=0.9, is_floor=True),
            0.95,
            "aim reached",
        ),
        (Bar(ours="a", workload="w", field="f", must=0.8, aim=0.9, is_floor=True), 0.79, "MISSED"),
    ],
)
def test_a_bar_tells_which_bound_is_kept(bar: Bar, ratio: float, expected: str) -> None:
    assert bar.verdict(ratio) == expected


def test_what_was_not_measured_is_no_verdict() -> None:
    told = verdicts(ROUNDS)

    assert len(told) == len(BARS)
    assert told[0]["verdict"] == "must kept"
    assert {each["verdict"] for each in told if each["ratio"] is None} == {"not measured"}
    assert "not measured" in verdict_table(told)


def test_a_table_lines_its_columns_up() -> None:
    lines = table(("name", "us"), [["a", "1.00"], ["longer", "10.0"]]).splitlines()

    assert lines == ["name      us", "------  ----", "a       1.00", "longer  10.0"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (-3.0, "-3.00")],
)
def test_numbers_have_three_figures(value: float | None, expected: str) -> None:
    assert number(value) == expected


def test_a_spread_is_told_only_where_rounds_differ() -> None:
    assert with_spread({"a": 1.0, "a_min": 1.0, "a_max": 1.0}, "a") == "1.00"
    assert with_spread({"a": 2.0, "a_min": 1.0, "a_max": 3.0}, "a") == "2.00 [1.00 .. 3.00]"
    assert with_spread({"a": None}, "a") == "-"


def test_the_cheapest_comes_first() -> None:
    text = workload_table("unary", results([*ROUNDS, row(0, "nginx", cpu_us=9.0)]))

    names = [line.split()[0] for line in text.splitlines()[4:]]
    assert names == ["nginx", "fused", "envoy"]


def test_a_target_that_did_not_keep_the_pace_is_told() -> None:
    rows = [row(0, "fused", "stream_paced", kept_pace=0.5, generator_late_p99_us=30_000.0)]

    told = warnings(results(rows))
    assert any("50%" in line for line in told)
    assert any("late" in line for line in told)


def test_the_chart_has_ours_first() -> None:
    rows = results([row(0, "nginx", cpu_us=9.0), row(0, "split"), row(0, "fused", cpu_us=99.0)])

    assert order(rows) == ["fused", "split", "nginx"]
