"""A small input for each task, to try a model with."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from libs.common.catalog import Model

SIDE = 64  # pixels of the picture
RATE = 16_000  # of the sound


def sample(model: Model) -> Mapping[str, Any]:
    """Return a body that every model of the task takes, unless its schema is narrower."""
    picture = base64.b64encode(_png()).decode()
    texts: Mapping[str, Mapping[str, Any]] = {
        "text-generation": {"prompt": "Say hello.", "max_tokens": 8},
        "text-classification": {"text": "I like it."},
        "text-embeddings": {"text": "Hello"},
        "text-to-image": {"prompt": "a red circle"},
        "text-to-speech": {"prompt": "hello"},
        "automatic-speech-recognition": {"audio": base64.b64encode(_wav()).decode()},
        "image-classification": {"image": picture},
        "object-detection": {"image": picture},
        "image-to-text": {"image": picture},
        "image-text-to-text": {"image": picture, "prompt": "What is this?"},
        "translation": {"text": "hello", "target_lang": "fr"},
        "summarization": {"input_text": "One sentence. And another one."},
        "multimodal-embeddings": {"text": ["hello"]},
        "dumb-pipe": {"hello": "there"},
    }
    return texts[model.task]


def _png() -> bytes:
    """Return a red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\xd0\x20\x20" * SIDE) * SIDE
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _wav() -> bytes:
    """Return a fifth of a second of silence."""
    data = bytes(2 * RATE // 5)
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
