"""Prices: the only place that turns what was used into neurons."""

from __future__ import annotations

from libs.common.catalog import Price
from libs.common.envelope import NO_UNITS, Units


def neurons(price: Price, *, tokens_in: int, tokens_out: int, units: Units) -> float:
    """Return what a call costs: the sum of each unit times its price."""
    cost = price.per_request + price.per_token_in * tokens_in + price.per_token_out * tokens_out
    if units is NO_UNITS:
        return cost
    return (
        cost
        + price.per_character_in * units.input_characters
        + price.per_megapixel * units.pixels / 1e6
        + price.per_step * units.steps
        + price.per_audio_second * units.audio_seconds
    )


def neurons_of_rest(price: Price, *, tokens_out: int) -> float:
    """Return what the rest of a stream costs that broke: all but its output was paid for."""
    return price.per_token_out * tokens_out
