"""Pictures as arrays of RGB, from the bytes of a file and back."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.tensors import BadInput

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
MOST_PIXELS = 16_777_216  # 4096 x 4096: what is larger is refused before it is decoded

Picture = NDArray[np.uint8]  # [height, width, 3]


def read(data: bytes, *, field: str = "image") -> Picture:
    """The picture in a file; BadInput names the field that it came in."""
    return np.asarray(_open(data, field))


def read_scaled(data: bytes, *, width: int, height: int, field: str) -> Picture:
    """The picture in a file, made to have this size."""
    return np.asarray(_open(data, field).resize((width, height)))


def to_png(picture: Picture) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _open(data: bytes, field: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadInput(
                    f"{field}: at most {MOST_PIXELS} pixels, not {image.width} x {image.height}"
                )
            return _on_white(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{field}: a whole picture ({', '.join(FORMATS)}) is wanted") from error


def _on_white(image: Image.Image) -> Image.Image:
    """What is transparent shows white paper."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
