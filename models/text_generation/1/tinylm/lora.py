"""LoRA adapters in PEFT's form: found by name, read when first used, kept while in use."""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .weights import Tensors, read_tensors

Array = NDArray[np.float32]
Stamp = tuple[Path, int, int]  # of the files an adapter was read from

TARGETS = ("q_proj", "k_proj", "v_proj")  # in the order of the joined matrix of the network
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.self_attn\.(\w+)\.lora_([AB])\.weight")


class AdapterError(ValueError):
    """The adapter asked for is not there or cannot be used with this model."""


@dataclass(frozen=True)
class Adapter:
    """The pairs A and B by layer and by place in the joined matrix; B holds alpha / r."""

    hidden_size: int
    pairs: dict[tuple[int, int], tuple[Array, Array]]

    def apply(self, layer: int, x: Array, qkv: Array) -> None:
        """Add (alpha / r) B A x to the projections of x."""
        size = self.hidden_size
        for place in range(len(TARGETS)):
            pair = self.pairs.get((layer, place))
            if pair is not None:
                down, up = pair
                qkv[:, place * size : (place + 1) * size] += x @ down @ up


def read_adapter(
    name: str, folder: Path, *, layers: int, hidden_size: int, max_rank: int
) -> Adapter:
    """Read and check a PEFT folder; AdapterError says what does not fit."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = read_tensors(folder / WEIGHTS)
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"LoRA {name} cannot be read: {_reason(error)}") from error
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        raise AdapterError(f"LoRA {name} is of another kind: only plain LORA is supported")
    if not 1 <= rank <= max_rank:
        raise AdapterError(f"LoRA {name} has rank {rank}: 1 to {max_rank} is supported")
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Adapter(hidden_size, _pairs(name, tensors, layers, hidden_size, rank, scale))


def _reason(error: Exception) -> str:
    """Without the path: what a client reads tells nothing of the machine."""
    if isinstance(error, OSError):
        return error.strerror or "not readable"
    return f"no {error} in {CONFIG}" if isinstance(error, KeyError) else str(error)


def _pairs(
    name: str, tensors: Tensors, layers: int, hidden: int, rank: int, scale: float
) -> dict[tuple[int, int], tuple[Array, Array]]:
    halves: dict[tuple[int, int], dict[str, Array]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or int(match[1]) >= layers or match[2] not in TARGETS:
            raise AdapterError(f"LoRA {name} does not fit: this model has no place for {key}")
        wanted = (rank, hidden) if match[3] == "A" else (hidden, rank)
        if tensor.shape != wanted:
            raise AdapterError(f"LoRA {name} does not fit: {key} is {tensor.shape}, not {wanted}")
        halves.setdefault((int(match[1]), TARGETS.index(match[2])), {})[match[3]] = tensor
    if not halves or any(len(pair) != 2 for pair in halves.values()):
        raise AdapterError(f"LoRA {name} does not fit: lora_A and lora_B must come in pairs")
    return {
        place: (np.ascontiguousarray(pair["A"].T), np.ascontiguousarray(pair["B"].T) * scale)
        for place, pair in halves.items()
    }


class AdapterStore:
    """The adapters of a folder; the ones used last stay in memory, as long as their files do."""

    def __init__(
        self, folder: Path, *, layers: int, hidden_size: int, resident: int = 8, max_rank: int = 32
    ) -> None:
        self._folder = folder
        self._sizes = {"layers": layers, "hidden_size": hidden_size, "max_rank": max_rank}
        self._resident = resident
        self._loaded: OrderedDict[str, tuple[Stamp, Adapter]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<AdapterStore loaded={len(self._loaded)}/{self._resident}>"

    def names(self) -> list[str]:
        """The adapters that can be asked for now."""
        found = self._folder.glob(f"*/{CONFIG}")
        return sorted(path.parent.name for path in found if _NAME.fullmatch(path.parent.name))

    def get(self, name: str) -> Adapter:
        """The adapter of this name, read again if its files have changed."""
        folder = self._folder / name if _NAME.fullmatch(name) else None
        if folder is None or not (folder / CONFIG).is_file():
            self._loaded.pop(name, None)
            supported = self.names()
            raise AdapterError(
                f"LoRA {name[:128]} is not supported, we currently support {supported}"
            )
        folder = folder.resolve()  # it may be a link, and that be changed while it is read
        stamp = _stamp(name, folder)
        known = self._loaded.get(name)
        if known is not None and known[0] == stamp:
            adapter = known[1]
        else:
            adapter = read_adapter(name, folder, **self._sizes)
        self._loaded[name] = (stamp, adapter)
        self._loaded.move_to_end(name)
        while len(self._loaded) > self._resident:
            self._loaded.popitem(last=False)
        return adapter


def _stamp(name: str, folder: Path) -> Stamp:
    try:
        config, weights = (folder / CONFIG).stat(), (folder / WEIGHTS).stat()
    except OSError as error:
        raise AdapterError(f"LoRA {name} cannot be read: {_reason(error)}") from error
    return folder, config.st_mtime_ns, weights.st_mtime_ns
