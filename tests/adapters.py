"""Adapters as PEFT writes them, right ones and wrong ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LAYER = "base_model.model.model.layers.0.self_attn"


def config(**changed: Any) -> bytes:
    """A right adapter_config.json but for what is changed; None leaves a field out."""
    fields = {
        "peft_type": "LORA",
        "model_type": "demo",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
    }
    return json.dumps({k: v for k, v in (fields | changed).items() if v is not None}).encode()


def tensors(rank: int = 8, width: int = 4, module: str = "q_proj") -> dict[str, Any]:
    """The header's entries of one pair."""
    size = rank * width * 4
    return {
        f"{LAYER}.{module}.lora_A.weight": {
            "dtype": "F32",
            "shape": [rank, width],
            "data_offsets": [0, size],
        },
        f"{LAYER}.{module}.lora_B.weight": {
            "dtype": "F32",
            "shape": [width, rank],
            "data_offsets": [size, 2 * size],
        },
    }


def header(entries: Any) -> bytes:
    """What stands before the data."""
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(raw).to_bytes(8, "little") + raw


def weights(rank: int = 8, width: int = 4, module: str = "q_proj", fill: bytes = b"\0") -> bytes:
    """A right adapter_model.safetensors."""
    return header(tensors(rank, width, module)) + fill * (2 * rank * width * 4)


async def chunked(raw: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """The bytes, as they might come."""
    for at in range(0, len(raw), size):
        yield raw[at : at + size]
