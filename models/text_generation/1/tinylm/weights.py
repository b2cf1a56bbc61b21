"""Safetensors files in numpy: an 8-byte length, a JSON header, and the raw tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[np.float32]]

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_LONGEST_HEADER = 16 * 1024 * 1024


def read_tensors(path: Path) -> Tensors:
    """All tensors of the file as float32; ValueError if it is not such a file."""
    data = path.read_bytes()
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header: dict[str, dict[str, Any]] = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        body = memoryview(data)[8 + length :]
        return {name: _tensor(entry, body) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is not a readable safetensors file: {error}") from error


def _tensor(entry: dict[str, Any], body: memoryview) -> NDArray[np.float32]:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {entry['dtype']} (only F32 and F16 are read)")
    start, end = entry["data_offsets"]
    values = np.frombuffer(body[start:end], _DTYPES[entry["dtype"]])
    result: NDArray[np.float32] = values.astype(np.float32).reshape(entry["shape"])
    return result


def write_tensors(path: Path, tensors: Tensors, *, half: bool = False) -> None:
    """Write the tensors, sorted by name, as float32 or, if `half`, as float16."""
    kind = "F16" if half else "F32"
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts: list[bytes] = []
    position = 0
    for name in sorted(tensors):
        part = np.ascontiguousarray(tensors[name], _DTYPES[kind]).tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(tensors[name].shape),
            "data_offsets": [position, position + len(part)],
        }
        parts.append(part)
        position += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to 8 bytes
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
