"""Drawing a scene: each shape in a cell of a grid of its own, moved about by the seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from demo import colours, shapes
from demo.pictures import Picture
from demo.scenes import Scene, Thing
from demo.shapes import Box

FILL = (0.55, 0.8)  # of its cell, before the thing's own size
MOST_FILL = 0.9
WIDE = 1.7  # a rectangle's width, in heights


def draw(scene: Scene, *, width: int, height: int, seed: int) -> Picture:
    """The scene on its background."""
    paper = np.empty((height, width, 3), np.uint8)
    paper[:] = colours.COLOURS[scene.background]
    return draw_onto(paper, scene, seed=seed)


def draw_onto(paper: Picture, scene: Scene, *, seed: int) -> Picture:
    """The scene's shapes on a picture that is there already; that one stays as it is."""
    picture = paper.copy()
    rng = np.random.default_rng(abs(seed))
    height, width = picture.shape[:2]
    cells = list(_cells(len(scene.things), width, height))
    for thing, cell in zip(scene.things, rng.permutation(len(cells)), strict=False):
        chosen = _choose(thing, scene.background, rng)
        box = _box(chosen, cells[cell], rng)
        covered = shapes.mask(chosen.kind, box.width, box.height)
        window = picture[box.top : box.bottom, box.left : box.right]
        window[covered] = colours.COLOURS[chosen.colour]
    return picture


def _cells(count: int, width: int, height: int) -> Iterator[Box]:
    """At least so many cells, about as wide as high."""
    if not count:
        return
    across = max(1, round(math.sqrt(count * width / height)))
    down = math.ceil(count / across)
    for row in range(down):
        for column in range(across):
            yield Box(
                column * width // across,
                row * height // down,
                (column + 1) * width // across,
                (row + 1) * height // down,
            )


def _choose(thing: Thing, background: str, rng: np.random.Generator) -> Thing:
    """Give the thing what its prompt did not say."""
    usable = [name for name in colours.NAMES if name != background]
    return replace(
        thing,
        colour=thing.colour or usable[rng.integers(len(usable))],
        kind=thing.kind or shapes.KINDS[rng.integers(len(shapes.KINDS))],
    )


def _box(thing: Thing, cell: Box, rng: np.random.Generator) -> Box:
    """A place in the cell, with some room around it."""
    side = min(cell.width, cell.height) * min(MOST_FILL, rng.uniform(*FILL) * thing.size)
    width = max(1, int(side))
    height = max(1, int(side / WIDE)) if thing.kind == "rectangle" else width
    left = cell.left + 1 + int(rng.uniform(0, max(0, cell.width - width - 2)))
    top = cell.top + 1 + int(rng.uniform(0, max(0, cell.height - height - 2)))
    return Box(left, top, left + width, top + height)
