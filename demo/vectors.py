"""Texts and pictures as vectors of one space, in which a picture is near the words for it.

The dimensions are the colours, the shapes, each shape in each colour, and some for all other words.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from demo import colours, scenes, shapes
from demo.seeing import View

DIMENSIONS = 128
KINDS_AT = len(colours.NAMES)
PAIRS_AT = KINDS_AT + len(shapes.KINDS)
OTHERS_AT = PAIRS_AT + len(colours.NAMES) * len(shapes.KINDS)  # 90; what is left is for words
BACKGROUND = 0.15  # what a background counts beside the shapes
OTHER = 0.5  # what any other word counts

Vector = NDArray[np.float32]


def of_text(text: str) -> Vector:
    """The vector of what a text names."""
    tokens = scenes.words(text)
    known = [each for each in tokens if colours.named(each) or shapes.named(each)]
    vector = np.zeros(DIMENSIONS, np.float32)
    if known:
        scene = scenes.parse(text)
        _add(vector, ((each.colour, each.kind, 1.0) for each in scene.things))
        if "background" in tokens:
            _add(vector, [(scene.background, "", BACKGROUND)])
    for word in re.findall(r"\w+", text.lower()) or [""]:
        if word not in known:
            vector[OTHERS_AT + zlib.crc32(word.encode()) % (DIMENSIONS - OTHERS_AT)] += (
                OTHER / len(tokens) if known else OTHER
            )
    return _unit(vector)


def of_view(view: View) -> Vector:
    """The vector of what a picture shows."""
    vector = np.zeros(DIMENSIONS, np.float32)
    _add(vector, ((each.colour, each.kind, 1.0) for each in view.shapes))
    if view.shapes:
        _add(vector, [(view.background, "", BACKGROUND)])
    else:
        _add(vector, ((name, "", share) for name, share in view.shares.items()))
    return _unit(vector)


def _add(vector: Vector, things: Iterable[tuple[str, str, float]]) -> None:
    """Add shapes of some weight; what is not named of them is empty."""
    for colour, kind, weight in things:
        if colour:
            vector[colours.NAMES.index(colour)] += weight
        if kind:
            vector[KINDS_AT + shapes.KINDS.index(kind)] += weight
        if colour and kind:
            pair = colours.NAMES.index(colour) * len(shapes.KINDS) + shapes.KINDS.index(kind)
            vector[PAIRS_AT + pair] += weight


def _unit(vector: Vector) -> Vector:
    """The same direction, of length 1."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)
