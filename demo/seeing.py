"""Finding the coloured shapes of a picture.

Pixels that touch and are most like the same colour are one region; a region is the shape that,
stretched to its box, covers it best. What fits none well enough is not a shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from demo import colours, shapes
from demo.pictures import Picture
from demo.shapes import Box, Shape

LONGEST_SIDE = 400  # pixels that are looked at; of larger pictures every n-th
SMALLEST = 30  # pixels of a region
THINNEST = 5  # pixels across: what is thinner looks like any shape
SMALLEST_SHARE = 0.0004  # of the picture
FIT = 0.66  # the share of a region and its shape together that both cover
FITS_SQUARE = 1.28  # times as wide as high, or as high as wide


@dataclass(frozen=True)
class View:
    """What a picture shows."""

    shapes: tuple[Shape, ...]  # from the largest
    background: str
    shares: dict[str, float]  # of each colour in the picture, from the largest
    width: int
    height: int


def look(picture: Picture) -> View:
    """Find everything."""
    height, width = picture.shape[:2]
    step = max(1, -(-max(height, width) // LONGEST_SIDE))
    numbers = colours.nearest(picture[::step, ::step])
    background = _background(numbers)
    least = max(SMALLEST, int(SMALLEST_SHARE * numbers.size))
    found = [
        _scaled(shape, step, width, height)
        for region in _regions(numbers, background)
        if region.pixels >= least and (shape := _shape_of(region))
    ]
    counts = np.bincount(numbers.reshape(-1), minlength=len(colours.NAMES)) / numbers.size
    order = [number for number in np.argsort(-counts, kind="stable") if counts[number]]
    return View(
        shapes=tuple(sorted(found, key=lambda shape: -shape.pixels)),
        background=colours.NAMES[background],
        shares={colours.NAMES[number]: float(counts[number]) for number in order},
        width=width,
        height=height,
    )


def labels(view: View) -> list[tuple[str, float]]:
    """What the picture shows and how much of it that is, from the most; all sums up to 1.

    The shapes by their pixels, or where there are none the colours.
    """
    pixels: dict[str, float] = {}
    for each in view.shapes:
        pixels[each.label] = pixels.get(each.label, 0.0) + each.pixels
    pixels = pixels or view.shares
    total = sum(pixels.values())
    ranked = sorted(pixels.items(), key=lambda item: -item[1])
    return [(label, count / total) for label, count in ranked]


def _background(numbers: NDArray[np.uint8]) -> int:
    """The colour that most of the edge has."""
    edge = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    return int(np.bincount(edge).argmax())


@dataclass(frozen=True)
class _Region:
    """Pixels of one colour that touch."""

    number: int
    box: Box
    covered: NDArray[np.bool_]  # within the box
    pixels: int


def _regions(numbers: NDArray[np.uint8], background: int) -> Iterator[_Region]:
    """All regions but those of the background."""
    rows, starts, ends, roots = _runs(numbers)
    colour = numbers[rows, starts]
    kept = colour != background
    rows, starts, ends, colour = rows[kept], starts[kept], ends[kept], colour[kept]
    _, owner = np.unique(roots[kept], return_inverse=True)
    for runs in np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1]):
        if not len(runs):
            continue
        box = Box(
            int(starts[runs].min()), int(rows[runs[0]]), int(ends[runs].max()),
            int(rows[runs].max()) + 1,
        )  # fmt: skip
        covered = np.zeros((box.height, box.width), np.bool_)
        for run in runs:
            covered[rows[run] - box.top, starts[run] - box.left : ends[run] - box.left] = True
        yield _Region(int(colour[runs[0]]), box, covered, int((ends[runs] - starts[runs]).sum()))


def _runs(numbers: NDArray[np.uint8]) -> tuple[NDArray[np.int64], ...]:
    """Row, start and end of each run of one colour, and for each which region it is of."""
    height, width = numbers.shape
    begins = np.ones((height, width), np.bool_)
    begins[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    rows, starts = np.nonzero(begins)
    ends = np.append(starts[1:], 0)
    ends[ends == 0] = width
    run_at = (np.cumsum(begins.reshape(-1)) - 1).reshape(height, width)
    touching = numbers[1:] == numbers[:-1]
    pairs = np.unique(np.stack([run_at[:-1][touching], run_at[1:][touching]], axis=1), axis=0)
    return rows, starts, ends, _roots(len(rows), pairs)


def _roots(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each run the first run that it touches, directly or by way of others."""
    parent = list(range(count))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for one, other in pairs.tolist():
        a, b = root(one), root(other)
        if a != b:
            parent[max(a, b)] = min(a, b)
    return np.array([root(run) for run in range(count)], np.int64)


def _shape_of(region: _Region) -> Shape | None:
    """The shape that fits best, if one does."""
    box = region.box
    if min(box.width, box.height) < THINNEST:
        return None
    is_square = max(box.width, box.height) <= FITS_SQUARE * min(box.width, box.height)
    unlikely = "rectangle" if is_square else "square"
    kinds = [kind for kind in shapes.KINDS if kind != unlikely]
    fits = [_fit(region.covered, shapes.mask(kind, box.width, box.height)) for kind in kinds]
    best = int(np.argmax(fits))
    if fits[best] < FIT:
        return None
    name = colours.NAMES[region.number]
    return Shape(name, kinds[best], box, score=fits[best], pixels=region.pixels)


def _fit(covered: NDArray[np.bool_], ideal: NDArray[np.bool_]) -> float:
    return float((covered & ideal).sum() / (covered | ideal).sum())


def _scaled(shape: Shape, step: int, width: int, height: int) -> Shape:
    """The shape in pixels of the picture itself."""
    box = shape.box
    scaled = Box(
        box.left * step,
        box.top * step,
        min(box.right * step, width),
        min(box.bottom * step, height),
    )
    return replace(shape, box=scaled, pixels=shape.pixels * step * step)
