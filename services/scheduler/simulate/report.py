"""What `constellation simulate` prints and writes: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import orjson

from services.scheduler.simulate.choosing import Choice
from services.scheduler.simulate.conditions import SPARE, Conditions
from services.scheduler.simulate.policy import Values
from services.scheduler.simulate.results import Result, geometric_mean

HEADS = (
    "policy",
    "instance-hours",
    "x clairvoyant",
    "x best peer",
    "late 1 s %",
    "late 10 s %",
    "dropped",
    "longest wait s",
    "actions",
    "started",
    "p99 ms",
)
SUMMARY = ("policy", "x clairvoyant", "x best peer", "over the SLO", "where, % late")


def as_json(
    results: Sequence[Result],
    conditions: Conditions,
    choices: Mapping[str, Choice],
    *,
    timing: bool,
) -> bytes:
    """Return all of it for programs."""
    found: dict[str, object] = {"conditions": conditions.told()}
    if choices:
        found["chosen"] = {name: choice.configuration for name, choice in choices.items()}
    found["results"] = [each.as_json(timing=timing) for each in results]
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def conditions_line(conditions: Conditions) -> str:
    """Return the model behind the figures, which depend on it."""
    most = f"{SPARE:g} x the true peak" if conditions.maximum is None else conditions.maximum
    return (
        f"{conditions.permits} permits per instance; {_service_text(conditions)}; "
        f"boot {conditions.boot_s:g} s{_boots_text(conditions)}; "
        f"instances {conditions.minimum} to {most}; dropped after {conditions.max_wait_s} s; "
        f"SLO {conditions.slo:.2%} late; warm-up {conditions.warmup_days:g} days or half of a "
        f"trace; seed {conditions.seed}"
    )


def _service_text(conditions: Conditions) -> str:
    engine, service = conditions.engine, conditions.service
    if engine is None:
        return f"service {service.mean_s:g} s unless the trace says, cv {service.cv:g}"
    return (
        f"engines: {engine.prefill_rate:g} tokens/s read, by {engine.chunk_tokens:g}, steps of "
        f"{engine.step_s:g} s + {engine.step_per_request_s:g} s per request; late if over "
        f"{engine.ttft_s:g} s to the first token or {engine.itl_s:g} s between others"
    )


def _boots_text(conditions: Conditions) -> str:
    varies = f", cv {conditions.boot_cv:g}" if conditions.boot_cv else ""
    fails = f", {conditions.boot_failures:.0%} fail" if conditions.boot_failures else ""
    return varies + fails


def trace_table(results: Sequence[Result], *, slo: float, timing: bool) -> str:
    """Return the policies on one trace; those above the SLO are marked."""
    columns = len(HEADS) if timing else len(HEADS) - 1
    rows = [_row(each, slo)[:columns] for each in results]
    return f"{results[0].trace}\n{table(HEADS[:columns], rows)}"


def summary_table(results: Sequence[Result], *, slo: float) -> str:
    """Return geometric means over the traces, with those above the SLO listed."""
    by_policy: dict[str, list[Result]] = {}
    for each in results:
        by_policy.setdefault(each.policy, []).append(each)
    rows = [
        (
            policy,
            _figures(geometric_mean(each.ratio_to_clairvoyant for each in mine)),
            _figures(geometric_mean(each.ratio_to_best_peer for each in mine)),
            f"{sum(each.late_share > slo for each in mine)} of {len(mine)}",
            _where(mine, slo),
        )
        for policy, mine in by_policy.items()
    ]
    return f"all traces, geometric means\n{table(SUMMARY, rows, left=(0, 4))}"


def choices_table(choices: Mapping[str, Choice]) -> str:
    """Return what was chosen."""
    rows = [
        (policy, f"{choice.score.broken}", configuration_text(choice.configuration))
        for policy, choice in choices.items()
    ]
    return "chosen\n" + table(("policy", "over the SLO", "configuration"), rows, left=(0, 2))


def configuration_text(values: Values) -> str:
    """Return a configuration on one line."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items()) or "-"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """Return rows under heads; numbers stand to the right."""
    to_the_left = frozenset(left)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        placed = (
            cell.ljust(width) if place in to_the_left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(placed).rstrip()

    return "\n".join([line(heads), line(["-" * width for width in widths]), *map(line, rows)])


def _row(result: Result, slo: float) -> tuple[str, ...]:
    mark = "!" if result.late_share > slo else ""
    return (
        result.policy,
        f"{result.instance_hours:,.1f}",
        _figures(result.ratio_to_clairvoyant),
        _figures(result.ratio_to_best_peer),
        f"{mark}{100 * result.late_share:.3f}",
        f"{100 * result.late_10s_share:.3f}",
        f"{result.dropped:,}",
        f"{result.longest_wait_s}",
        f"{result.scale_actions:,}",
        f"{result.instances_started:,}",
        "-" if result.decision_p99_ms is None else f"{result.decision_p99_ms:.3f}",
    )


def _where(results: Iterable[Result], slo: float) -> str:
    broken = (each for each in results if each.late_share > slo)
    return ", ".join(f"{each.trace} {100 * each.late_share:.2f}" for each in broken)


def _figures(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"
