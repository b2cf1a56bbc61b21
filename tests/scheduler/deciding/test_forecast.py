"""From minutes to quantiles: history, target, features, ridge, errors, experts, mixture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.deciding import experts, features, prior, residuals, ridge
from services.scheduler.deciding.forecast import Forecast
from services.scheduler.deciding.minutes import DAY, KEPT, Minutes
from services.scheduler.deciding.mixture import Mixture, mixed, pinball
from services.scheduler.deciding.target import horizon, rolling_max, targets

A_FEW = settings(max_examples=25, deadline=None)
some_loads = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


def minutes_of(loads: list[float] | np.ndarray) -> Minutes:
    minutes = Minutes()
    for index, load in enumerate(loads):
        minutes.add(index, float(load))
    return minutes


def test_minutes_that_nobody_saw_are_those_of_the_day_before() -> None:
    minutes = minutes_of(np.arange(DAY + 1) % 100)

    minutes.add(DAY + 11, 5.0)

    assert np.expm1(minutes.logs[-11:-1]) == pytest.approx(np.arange(1, 11), rel=1e-3)
    assert minutes.last == DAY + 11
    assert minutes.load == pytest.approx(5.0, rel=1e-3)


def test_a_minute_is_taken_in_once() -> None:
    minutes = minutes_of([1.0, 2.0])

    minutes.add(1, 9.0)
    minutes.add(0, 9.0)

    assert minutes.count == 2


def test_the_oldest_minutes_are_let_go() -> None:
    minutes = minutes_of(np.full(KEPT + DAY + 5, 3.0))

    assert KEPT <= minutes.count < KEPT + DAY
    assert minutes.last == KEPT + DAY + 4
    assert minutes.logs.size == minutes.expected.shape[1] == minutes.count


@pytest.mark.parametrize("count", [0, 1, 100, KEPT, KEPT + 500])
def test_kept_minutes_go_on_as_those_that_were_kept(count: int) -> None:
    minutes, again = minutes_of(np.arange(count) % 100), Minutes()
    again.unpack(minutes.last + 1 - min(count, KEPT), minutes.packed())

    for each in (minutes, again):
        each.add(count + 3, 5.0)
        each.expect(1.0, 2.0)

    assert again.last == minutes.last
    assert again.logs[-KEPT:].tolist() == minutes.logs[-KEPT:].tolist()
    assert again.expected[:, -1].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("boot_s", "minutes"), [(0, 1), (5, 2), (60, 2), (120, 3), (121, 4)])
def test_the_horizon_ends_where_the_next_decision_helps(boot_s: float, minutes: int) -> None:
    assert horizon(boot_s) == minutes


@pytest.mark.parametrize(
    ("boot_s", "last", "minutes"),
    [(61, 2, 3), (59, 3, 3), (54.5, 3, 3), (53.5, 3, 2), (59, 0, 2), (10, 9, 2), (115, 9, 4)],
)
def test_the_horizon_does_not_change_with_every_boot(
    boot_s: float, last: int, minutes: int
) -> None:
    assert horizon(boot_s, last) == minutes


@given(st.lists(st.floats(0, 9, width=32), min_size=12, max_size=40), st.integers(1, 12))
def test_rolling_maxima(values: list[float], window: int) -> None:
    array = np.array(values, dtype=np.float32)

    naive = [max(values[at : at + window]) for at in range(len(values) - window + 1)]

    assert rolling_max(array, window).tolist() == naive
    assert targets(array, window).tolist() == naive[1:]


def test_features_of_one_minute_are_those_of_the_same_minute_among_all() -> None:
    minutes = minutes_of(np.random.default_rng(1).gamma(2.0, 10.0, 2 * DAY))

    every = features.matrix(minutes, 0, 3)

    assert every.shape == (2 * DAY, features.COUNT)
    assert features.matrix(minutes, minutes.count - 1, 3)[0] == pytest.approx(every[-1])


def test_the_ridge_finds_what_comes_every_day() -> None:
    rng = np.random.default_rng(1)
    clock = np.arange(6 * DAY)
    loads = np.where(clock % DAY < 60, 80.0, 20.0) + rng.normal(0, 1, clock.size)
    minutes = minutes_of(loads[: 5 * DAY])  # the load is low until the last minute of the day

    fitted = ridge.fit(minutes, 3)

    assert fitted is not None
    centre, scale = fitted.predict(features.matrix(minutes, minutes.count - 1, 3))
    smoothed = minutes.smoothed
    assert math.expm1(smoothed + centre[0]) > 1.5 * math.expm1(smoothed)
    assert scale[0] > 0


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=300))
def test_quantiles_of_errors_ascend_and_are_finite(errors: list[float]) -> None:
    found = residuals.quantiles(np.array(errors))

    assert np.all(np.diff(found) >= -1e-9)
    assert np.all(np.isfinite(found))
    assert residuals.SHARES.sum() == pytest.approx(1)


def test_an_exponential_tail_is_found_again() -> None:
    errors = np.random.default_rng(1).exponential(1.0, 10_000)

    found = residuals.quantiles(errors)

    assert found[-2] == pytest.approx(-math.log(1 - residuals.PROBABILITIES[-2]), rel=0.15)


@A_FEW
@given(some_loads)
def test_every_expert_keeps_its_quantiles_in_order(loads: list[float]) -> None:
    minutes = minutes_of(loads * (1 + 61 // len(loads)))
    tables = experts.learn(minutes, 2)
    assert tables is not None or minutes.count < 62

    if tables is not None:
        said = experts.quantiles(tables, minutes, math.nan, math.nan)
        spoken = said[~np.isnan(said[:, 0])]
        assert len(spoken) == 6
        assert np.all(np.diff(spoken, axis=1) >= -1e-6 * (1 + spoken[:, 1:]))


def test_a_rough_hour_is_expected_to_go_on() -> None:
    rng = np.random.default_rng(1)
    loads = np.where(np.arange(DAY) % 480 < 360, 40.0, rng.choice([5.0, 40.0, 160.0], DAY))
    minutes = minutes_of(np.concatenate([loads, np.full(120, 40.0)]))
    tables = experts.learn(minutes, 3)
    assert tables is not None

    calm = experts.quantiles(tables, minutes, math.nan, math.nan)[-1]
    for index, load in enumerate((160.0, 5.0, 40.0), start=minutes.last + 1):
        minutes.add(index, load)
    rough = experts.quantiles(tables, minutes, math.nan, math.nan)[-1]

    at = int(np.searchsorted(residuals.PROBABILITIES, 0.9))
    assert calm[at] < 60.0
    assert rough[at] > 120.0


def test_the_mixture_turns_to_who_has_said_better() -> None:
    mixture = Mixture(2)
    said = np.stack([np.full(16, 10.0), np.full(16, 60.0)])
    for _ in range(50):
        mixture.score(said, 11.0)

    weights = mixture.weights(said)

    assert weights[0] > 0.99
    assert mixed(said, weights) == pytest.approx(np.full(16, 10.0), abs=0.1)


def test_who_says_nothing_has_no_weight() -> None:
    mixture = Mixture(2)
    said = np.stack([np.full(16, np.nan), np.full(16, 20.0)])
    mixture.score(said, 11.0)

    assert mixture.weights(said).tolist() == [0.0, 1.0]
    assert mixed(said, mixture.weights(said)).tolist() == [20.0] * 16


def test_too_little_costs_more_than_too_much_where_the_tail_is() -> None:
    short, long = pinball(np.stack([np.full(16, 9.0), np.full(16, 11.0)]), 10.0)

    assert short > 3 * long


@A_FEW
@given(some_loads, st.integers(1, 10))
def test_quantiles_ascend_and_are_finite_for_any_load(loads: list[float], ahead: int) -> None:
    forecast = Forecast()
    for index, load in enumerate(loads):
        forecast.learn(index, load)
        found = forecast.quantiles(ahead, 4.0)

    assert np.all(np.isfinite(found))
    assert np.all(found >= 0)
    assert np.all(np.diff(found) >= -1e-6 * (1 + found[1:]))


def test_a_series_without_history_is_told_by_the_prior() -> None:
    assert Forecast().quantiles(3, 4.0) == pytest.approx(prior.quantiles(0.0, 4.0))
    assert prior.share(0) == 1.0


def test_a_tail_asks_for_no_more_than_the_cap() -> None:
    forecast = Forecast()
    for index, load in enumerate([100.0, 1.0] * 100):
        forecast.learn(index, load)
        found = forecast.quantiles(3, 4.0)

    assert found[-1] <= 1.25 * 100 * 1.001


def test_after_a_restart_it_forecasts_much_as_before() -> None:
    rng = np.random.default_rng(1)
    forecast, again = Forecast(), Forecast()
    for index, load in enumerate(50 + 20 * np.sin(np.arange(1000) / 100) + rng.normal(0, 3, 1000)):
        forecast.learn(index, float(load))
        before = forecast.quantiles(3, 4.0)

    again.restore(forecast.kept())

    assert again.minutes.logs.tolist() == forecast.minutes.logs.tolist()
    assert again.quantiles(3, 4.0) == pytest.approx(before, rel=0.05)
