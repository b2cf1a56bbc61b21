"""Time bounds and options: what a client may wish for, and what it gets."""

import pytest

from libs.common.catalog import AccountShare, Permits, Timeouts
from libs.common.envelope import NO_BOUNDS, TimeBounds
from libs.common.errors import BadInput
from services.entry.limits import longest_silence, permits_of, tighter, time_bounds
from services.entry.options import HEADERS, SCHEMA, Options, of_headers, read_options


@pytest.mark.parametrize(
    ("client", "ceiling_s", "bounds"),
    [
        (TimeBounds(), 240, (30_000, 30_000, 600_000)),
        (TimeBounds(), 5, (5_000, 30_000, 600_000)),
        (TimeBounds(total_ms=700), 240, (30_000, 30_000, 700)),
        (TimeBounds(first_part_ms=90_000, idle_ms=10), 240, (30_000, 10, 600_000)),
    ],
    ids=["the model's", "the ceiling", "the client's total", "only what is tighter"],
)
def test_the_tightest_bound_counts(
    client: TimeBounds, ceiling_s: float, bounds: tuple[int, int, int]
) -> None:
    found = time_bounds(Timeouts(), client, ceiling_s=ceiling_s)

    assert (found.first_part_ms, found.idle_ms, found.total_ms) == bounds


@pytest.mark.parametrize(
    ("header", "ms"),
    [
        ("600", 600_000),
        ("0.5", 500),
        ("", 0),
        (None, 0),
        ("nan", 0),
        ("-1", 0),
        ("inf", 0),
        ("x", 0),
    ],
)
def test_a_read_timeout_is_the_longest_silence(header: str | None, ms: int) -> None:
    assert longest_silence(header) == TimeBounds(first_part_ms=ms, idle_ms=ms)


def test_options_that_were_not_said_bound_nothing() -> None:
    options = read_options({}, {"rejectIfBusy": False})

    assert options == Options()


@pytest.mark.parametrize(
    ("wish", "maximum", "cost"),
    [(1, 0, 1), (3, 0, 3), (9, 0, 4), (4, 2, 2), (1, 2, 1)],
    ids=["one", "as asked", "an instance's", "its account's", "less than its account's"],
)
def test_a_call_costs_no_more_than_an_instance_has_and_its_account_may_hold(
    wish: int, maximum: int, cost: int
) -> None:
    permits = Permits(per_instance=4, accounts={"a": AccountShare(maximum=maximum)})

    assert permits_of(wish, permits, "a") == cost


A = TimeBounds(first_part_ms=5, total_ms=9)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (NO_BOUNDS, A, (5, 0, 9)),
        (A, NO_BOUNDS, (5, 0, 9)),
        (A, TimeBounds(first_part_ms=7, idle_ms=2, total_ms=8), (5, 2, 8)),
    ],
)
def test_of_two_wishes_the_tighter_counts(
    one: TimeBounds, other: TimeBounds, both: tuple[int, int, int]
) -> None:
    found = tighter(one, other)

    assert (found.first_part_ms, found.idle_ms, found.total_ms) == both


SAID = {
    "rejectIfBusy": "true",
    "priority": "3",
    "maxQueueMs": "50",
    "cost": "2",
    "preferredColo": "lhr",
    "background": "true",
    "firstPartMs": "100",
    "idleMs": "200",
    "totalMs": "300",
}
MEANT = Options(
    reject_if_busy=True,
    priority=3,
    max_queue_ms=50,
    cost=2,
    preferred_colo="lhr",
    background=True,
    bounds=TimeBounds(first_part_ms=100, idle_ms=200, total_ms=300),
)


def test_headers_and_query_say_the_same_as_the_body() -> None:
    header_of = {name: header for header, name in HEADERS.items()}
    headers = {header_of[name]: value for name, value in SAID.items()}
    body = {n: int(v) if v.isdigit() else v == "true" or v for n, v in SAID.items()}

    told = [(of_headers(headers), None), (SAID, None), ({}, body)]

    assert [read_options(*each) for each in told] == [MEANT] * 3
    assert header_of["rejectIfBusy"] == "x-constellation-reject-if-busy"
    assert set(header_of) == set(SCHEMA["properties"]) - {"sessionAffinity"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("firstPartMs", 0),
        ("idleMs", 86_400_001),
        ("totalMs", "soon"),
        ("totalMs", 1.5),
        ("background", "perhaps"),
        ("sessionAffinity", "s" * 129),
        ("priority", 10),
        ("cost", 0),
    ],
)
def test_a_bad_option_is_named(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"options.{name}") as refused:
        read_options({}, {name: value})

    assert refused.value.pointer == f"/options/{name}"


def test_options_of_query_and_body_are_one() -> None:
    query = {"rejectIfBusy": "true", "priority": "3", "whatever": "1"}

    options = read_options(query, {"priority": 4, "preferredColo": "lhr"})

    assert options.reject_if_busy
    assert options.priority == 4
    assert options.preferred_colo == "lhr"
