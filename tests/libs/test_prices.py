"""Neurons, worked out by hand for each unit that a model may have a price for."""

from __future__ import annotations

import pytest

from libs.common.catalog import Price
from libs.common.envelope import NO_UNITS, Units
from libs.common.prices import neurons, neurons_of_rest

ALL = Price(
    per_request=0.5,
    per_token_in=0.001,
    per_token_out=0.004,
    per_character_in=0.0002,
    per_megapixel=12.0,
    per_step=1.5,
    per_audio_second=0.75,
)


@pytest.mark.parametrize(
    ("price", "used", "expected"),
    [
        (Price(), {"tokens_in": 5, "tokens_out": 6}, 0.0),
        (Price(per_request=0.5), {}, 0.5),
        (Price(per_token_in=0.001), {"tokens_in": 48}, 0.048),
        (Price(per_token_out=0.004), {"tokens_out": 32}, 0.128),
        (
            Price(per_token_in=0.001, per_token_out=0.004),
            {"tokens_in": 48, "tokens_out": 32},
            0.176,  # 0.048 + 0.128
        ),
        (Price(per_character_in=0.0002), {"units": Units(input_characters=2_500)}, 0.5),
        (Price(per_megapixel=12.0), {"units": Units(pixels=1024 * 1024)}, 12.582912),
        (Price(per_megapixel=12.0), {"units": Units(pixels=512 * 512)}, 3.145728),
        (Price(per_step=1.5), {"units": Units(steps=20)}, 30.0),
        (Price(per_audio_second=0.75), {"units": Units(audio_seconds=90.5)}, 67.875),
        (
            Price(per_megapixel=12.0, per_step=1.5),  # a picture of 1 MP in 4 steps
            {"units": Units(pixels=1_000_000, steps=4)},
            18.0,
        ),
        (
            ALL,
            {
                "tokens_in": 1_000,
                "tokens_out": 500,
                "units": Units(input_characters=5_000, pixels=250_000, steps=8, audio_seconds=2.0),
            },
            21.0,  # 0.5 + 1 + 2 + 1 + 3 + 12 + 1.5
        ),
        (ALL, {"tokens_in": 1_000, "tokens_out": 500}, 3.5),  # nothing for units of which none is
    ],
)
def test_a_call_costs_the_sum_of_its_units(
    price: Price, used: dict[str, object], expected: float
) -> None:
    told: dict[str, object] = {"tokens_in": 0, "tokens_out": 0, "units": NO_UNITS} | used

    assert neurons(price, **told) == pytest.approx(expected, rel=1e-12)  # type: ignore[arg-type]


def test_the_rest_of_a_stream_costs_its_output_alone() -> None:
    assert neurons_of_rest(ALL, tokens_out=500) == 2.0
