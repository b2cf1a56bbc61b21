"""The shapes that the demo models know: how each fills its box, and how one is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("circle", "square", "rectangle", "triangle", "diamond", "star")
SAME_AS = {
    "disc": "circle",
    "disk": "circle",
    "dot": "circle",
    "ball": "circle",
    "oval": "circle",
    "ellipse": "circle",
    "box": "square",
    "rhombus": "diamond",
}
RATIO = 1.5  # a rectangle is at least so much wider than high; between is a square


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels; its right and bottom edges are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top


@dataclass(frozen=True)
class Shape:
    """A coloured shape, and where it is in a picture."""

    colour: str
    kind: str
    box: Box
    score: float = 1.0  # how much of it is as it should be
    pixels: int = 0

    @property
    def label(self) -> str:
        """What it is called."""
        return f"{self.colour} {self.kind}"


def named(word: str) -> str:
    """The shape that a word means, in the singular or the plural, or nothing."""
    for each in (word, word.removesuffix("s"), word.removesuffix("es")):
        each = SAME_AS.get(each, each)
        if each in KINDS:
            return each
    return ""


def plural(kind: str) -> str:
    """The name of several."""
    return f"{kind}s"


def mask(kind: str, width: int, height: int) -> NDArray[np.bool_]:
    """Which pixels of its box a shape covers."""
    x = (np.arange(width) + 0.5)[None, :] / width * 2 - 1
    y = (np.arange(height) + 0.5)[:, None] / height * 2 - 1
    if kind == "circle":
        covered = x**2 + y**2 <= 1
    elif kind == "triangle":
        covered = np.abs(x) <= (y + 1) / 2
    elif kind == "diamond":
        covered = np.abs(x) + np.abs(y) <= 1
    elif kind == "star":
        covered = _star(x, y)
    else:
        covered = np.ones((height, width), np.bool_)
    return np.broadcast_to(covered, (height, width))


def _star(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Five points, the uppermost in the middle of the upper edge, stretched to the whole box."""
    turn = np.pi / 5
    across = np.sin(2 * turn)  # how far out the left and right points are
    below = np.cos(turn)  # how far down the lower points are
    x = x * across
    y = (y + 1) / 2 * (1 + below) - 1
    angle = np.mod(np.arctan2(x, -y), 2 * turn)
    angle = np.minimum(angle, 2 * turn - angle)  # from the nearest point's middle line
    radius = np.hypot(x, y)
    inner = np.cos(2 * turn) / np.cos(turn)  # where two lines of a pentagram cross
    # the edge from a point (radius 1, angle 0) to the notch (radius `inner`, angle `turn`)
    edge_x, edge_y = inner * np.cos(turn) - 1, inner * np.sin(turn)
    px, py = radius * np.cos(angle) - 1, radius * np.sin(angle)
    return np.asarray(edge_x * py - edge_y * px >= 0)
