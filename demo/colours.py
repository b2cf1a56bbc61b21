"""The colours that the demo models know, by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS = {
    "red": (214, 39, 40),
    "orange": (255, 140, 0),
    "yellow": (250, 218, 40),
    "green": (44, 150, 60),
    "cyan": (40, 200, 210),
    "blue": (35, 80, 200),
    "purple": (128, 50, 160),
    "pink": (255, 130, 190),
    "brown": (120, 75, 40),
    "black": (20, 20, 20),
    "gray": (135, 135, 135),
    "white": (255, 255, 255),
}
NAMES = tuple(COLOURS)
SAME_AS = {"grey": "gray", "violet": "purple", "turquoise": "cyan", "teal": "cyan"}
PALETTE = np.array(list(COLOURS.values()), np.int32)


def named(word: str) -> str:
    """The colour that a word means, or nothing."""
    word = SAME_AS.get(word, word)
    return word if word in COLOURS else ""


def _table() -> NDArray[np.uint8]:
    """For every colour, of 5 bits for each of red, green and blue, the number of the nearest."""
    steps = np.arange(32, dtype=np.int32) * 8 + 4
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    distances = ((cube[..., None, :] - PALETTE) ** 2).sum(axis=-1)
    return np.asarray(distances.argmin(axis=-1), np.uint8)


TABLE = _table()


def nearest(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """For each pixel of a picture the number of the colour that it is most like."""
    red, green, blue = np.moveaxis(pixels >> 3, -1, 0)
    return np.asarray(TABLE[red, green, blue], np.uint8)
