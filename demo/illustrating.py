"""A picture for a prompt, on a page of its own or on a picture that came with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo import drawing, pictures, scenes
from demo.pictures import Picture
from demo.tensors import BadInput

SIDE = 512  # pixels, where neither the prompt's maker nor a picture says another size
SIDES = (16, 2048)


@dataclass(frozen=True)
class Wish:
    """What is asked for; 0 and empty are what was not said."""

    prompt: str
    without: str = ""
    width: int = 0
    height: int = 0
    seed: int = 0
    strength: float = 1.0
    image: bytes = b""
    mask: bytes = b""


def illustrate(wish: Wish) -> bytes:
    """The picture, as PNG."""
    given = pictures.read(wish.image) if wish.image else None
    height, width = given.shape[:2] if given is not None else (SIDE, SIDE)
    width = _side("width", wish.width or min(width, SIDES[1]))
    height = _side("height", wish.height or min(height, SIDES[1]))
    scene = scenes.parse(wish.prompt, without=wish.without)
    if given is None:
        picture = drawing.draw(scene, width=width, height=height, seed=wish.seed)
        return pictures.to_png(picture)
    under = pictures.read_scaled(wish.image, width=width, height=height, field="image")
    over = drawing.draw_onto(under, scene, seed=wish.seed)
    return pictures.to_png(_blend(under, over, wish))


def _side(field: str, pixels: int) -> int:
    if not SIDES[0] <= pixels <= SIDES[1]:
        raise BadInput(f"{field}: {SIDES[0]} to {SIDES[1]} pixels, not {pixels}")
    return pixels


def _blend(under: Picture, over: Picture, wish: Wish) -> Picture:
    """So much of what was drawn as the strength says, and only where the mask is bright."""
    height, width = under.shape[:2]
    share = np.full((height, width, 1), min(1.0, max(0.0, wish.strength)), np.float32)
    if wish.mask:
        mask = pictures.read_scaled(wish.mask, width=width, height=height, field="mask")
        share *= mask.mean(axis=2, keepdims=True) >= 128
    return np.rint(under + share * (over.astype(np.float32) - under)).astype(np.uint8)
