"""How a series' state becomes bytes: named arrays in a compressed archive of numpy's.

About 25 KB for 14 days. What can be read again from the minutes, as fits and tables, is not kept.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
Arrays = Mapping[str, NDArray[Any]]


def pack(arrays: Arrays) -> bytes:
    """Return the arrays as bytes."""
    file = io.BytesIO()
    named: dict[str, Any] = {"format": np.array(FORMAT), **arrays}
    np.savez_compressed(file, **named)
    return file.getvalue()


def unpack(data: bytes) -> Arrays:
    """Return the arrays that `pack` took; raises ValueError for anything else."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            arrays = dict(kept)
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"no kept series: {error}") from error
    if int(arrays.get("format", -1)) != FORMAT:
        raise ValueError(f"a kept series of another format than {FORMAT}")
    return arrays
