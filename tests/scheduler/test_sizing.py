"""The series of a fleet: those that come back, those that go, and what decides meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.common.catalog import Permits
from services.scheduler.controls import Controls
from services.scheduler.deciding import Series, Span
from services.scheduler.sizing import Case, Sizer, Sizing
from services.scheduler.usage import Key, Usage
from tests.scheduler.fleet import EU, MODEL

US = Key("m", "us")


def kept(minutes: int = 120, load: float = 40.0) -> bytes:
    series = Series()
    for index in range(minutes):
        series.observe(
            Span(until=(index + 1) * 60.0, seconds=60, load=load, arrivals=load, service_s=60.0)
        )
    return series.to_bytes()


def sized(sizer: Sizer, key: Key = EU, *, at: float = 7_300.0, current: int = 1) -> Sizing:
    case = Case(
        model=replace(MODEL, permits=Permits(per_instance=8)),
        usage=Usage(instances={"ready": current}),
        controls=Controls(min=0, max=50, boot_s=20.0, keep_alive_s=60.0),
        current=current,
        at=at,
    )
    return sizer.size(key, case, is_due=False)


def test_a_history_is_read_in_a_turn_of_its_own() -> None:
    sizer = Sizer()
    sizer.restore({EU: kept(), US: kept(), Key("other", "eu"): kept()})
    sizer.follow([EU, US])

    first = sized(sizer)
    assert sizer.is_behind
    assert first.is_stood_in
    assert (first.wanted, first.made.quantiles) == (1, ())

    sizer.turn()
    second = sized(sizer)
    assert not second.is_stood_in
    assert second.wanted >= 5
    assert sized(sizer, US).is_stood_in

    sizer.turn()
    assert not sizer.is_behind
    assert set(sizer.following) == {EU, US}


def test_what_happened_meanwhile_is_known_to_the_series() -> None:
    sizer = Sizer()
    sizer.restore({EU: kept()})
    sizer.follow([EU])
    for count in range(1, 25):
        until = 7_200.0 + 5 * count
        sizer.observe({EU: Span(until=until, seconds=5, load=200.0, arrivals=17, service_s=60.0)})
    assert sized(sizer, at=7_320.0).wanted == 27

    sizer.turn()

    found = sized(sizer, at=7_320.0)
    assert found.made.load == pytest.approx(200.0, rel=1e-3)
    assert found.wanted >= 25


def test_what_is_kept_is_not_replaced_before_it_was_read() -> None:
    sizer = Sizer()
    sizer.restore({EU: kept()})
    sizer.follow([EU])

    assert sizer.saved(EU) is None
    assert not sizer.following
    sizer.follow([])
    assert not sizer.is_behind
    sizer.follow([EU])
    sizer.turn()
    assert sized(sizer).made.load == pytest.approx(40.0, rel=1e-3)
    assert sizer.saved(EU) is not None


@pytest.mark.parametrize("turns", [0, 1], ids=["before it is kept", "after"])
def test_a_series_that_went_comes_back_as_it_was(turns: int) -> None:
    sizer = Sizer()
    sizer.restore({EU: kept()})
    sizer.follow([EU])
    sizer.turn()

    sizer.follow([])
    assert sizer.is_behind
    assert not sizer.following
    for _ in range(turns):
        sizer.turn()
    sizer.follow([EU])
    while sizer.is_behind:
        sizer.turn()

    assert sized(sizer).made.load == pytest.approx(40.0, rel=1e-3)


def test_one_that_cannot_be_read_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(data: bytes, *, phase: int) -> Series:
        raise KeyError("a bug")

    monkeypatch.setattr(Series, "from_bytes", failing)
    sizer = Sizer()
    sizer.restore({EU: b"whatever"})
    sizer.follow([EU])

    with pytest.raises(KeyError):
        sizer.turn()

    assert not sizer.is_behind
    assert sized(sizer).wanted == 1
