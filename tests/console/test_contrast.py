"""What is written can be read: the colors' contrasts, as WCAG computes them, in light and dark."""

from __future__ import annotations

import re

import pytest

from services.entry.fronts.console_page import FOLDER

TOKENS = (FOLDER / "css/tokens.css").read_text("utf-8")
PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
COLORS = {name: (light, dark) for name, light, dark in PAIR.findall(TOKENS)}
TEXT, SHAPE = 4.5, 3.0  # WCAG 2.2 AA: 1.4.3 for text, 1.4.11 for what is no text
WRITTEN = [
    *((ink, on) for ink in ("ink", "quiet") for on in ("ground", "surface", "raised")),
    ("accent", "surface"),
    ("accent", "tint"),
    ("accent", "ground"),
    ("ink", "tint"),
    ("quiet", "tint"),
    ("on-accent", "accent"),
    *((kind, on) for kind in ("good", "warn", "bad") for on in ("surface", f"{kind}-tint")),
]
DRAWN = [
    ("edge", "surface"),
    *((f"series-{number}", "surface") for number in range(1, 5)),
    *((kind, "surface") for kind in ("good", "warn", "bad")),
]


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_has_the_contrast_that_the_standard_names() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("at", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "on"), WRITTEN)
def test_text_can_be_read(ink: str, on: str, at: int) -> None:
    assert contrast(COLORS[ink][at], COLORS[on][at]) >= TEXT


@pytest.mark.parametrize("at", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("shape", "on"), DRAWN)
def test_what_is_drawn_can_be_seen(shape: str, on: str, at: int) -> None:
    assert contrast(COLORS[shape][at], COLORS[on][at]) >= SHAPE


def test_no_color_stands_anywhere_else() -> None:
    for path in FOLDER.rglob("*.css"):
        if path.name != "tokens.css":
            assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", path.read_text("utf-8")), path.name
