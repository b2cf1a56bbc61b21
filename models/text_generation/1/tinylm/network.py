"""The decoder transformer: RMSNorm, rotary positions, gated MLP, and a KV cache per request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lora import Adapter
from .weights import Tensors, read_tensors

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """The sizes of the network, from `config.json` beside the weights."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    rope_theta: float
    rms_norm_eps: float
    max_position_embeddings: int

    @property
    def head_size(self) -> int:
        """Values per attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class _Layer:
    """One layer's weights; what reads the same input is one matrix."""

    input_norm: Array
    qkv: Array
    output: Array
    mlp_norm: Array
    gate_up: Array
    down: Array


@dataclass(frozen=True)
class _Step:
    """What all layers need to know of the positions that are read now."""

    slots: slice
    seen: int
    cos: Array
    sin: Array
    mask: Array | None


class Cache:
    """Keys and values of one request, for as many positions as the context has.

    Positions beyond the context take the place of the oldest ones, BOS excepted: the window
    slides along and the text may be longer than the context.
    """

    def __init__(self, shape: Shape) -> None:
        size = (
            shape.num_hidden_layers,
            shape.num_attention_heads,
            shape.max_position_embeddings,
            shape.head_size,
        )
        self.keys = np.zeros(size, dtype=np.float32)
        self.values = np.zeros(size, dtype=np.float32)
        self.position = 0

    def __repr__(self) -> str:
        return f"<Cache position={self.position}/{self.keys.shape[2]}>"

    def slots(self, count: int) -> slice:
        """Where the next `count` positions go; more than one only while there is room."""
        context = self.keys.shape[2]
        if self.position + count <= context:
            return slice(self.position, self.position + count)
        if count > 1:
            raise ValueError(
                f"{count} positions at {self.position} exceed the context of {context}"
            )
        slot = 1 + (self.position - 1) % (context - 1)
        return slice(slot, slot + 1)


class Network:
    """The weights and what is computed with them; holds no state of any request."""

    def __init__(self, shape: Shape, tensors: Tensors) -> None:
        self.shape = shape
        self._layers = [_layer(tensors, index) for index in range(shape.num_hidden_layers)]
        self._embedding = tensors["model.embed_tokens.weight"]
        self._norm = tensors["model.norm.weight"]
        self._head = np.ascontiguousarray(tensors["lm_head.weight"].T)
        half = shape.head_size // 2
        self._frequencies = shape.rope_theta ** (-np.arange(half) / half)

    @classmethod
    def load(cls, folder: Path) -> Network:
        """Read `config.json` and `model.safetensors` of the folder."""
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(Shape(**config), read_tensors(folder / "model.safetensors"))

    def __repr__(self) -> str:
        shape = self.shape
        return f"<Network layers={shape.num_hidden_layers} hidden={shape.hidden_size}>"

    def advance(self, tokens: Sequence[int], cache: Cache, adapter: Adapter | None = None) -> Array:
        """Read the tokens into the cache; the logits of what follows each of them."""
        eps, half = self.shape.rms_norm_eps, self.shape.intermediate_size
        step = self._step(cache, len(tokens))
        x = self._embedding[list(tokens)]
        for index, layer in enumerate(self._layers):
            y = _normed(x, layer.input_norm, eps)
            qkv = y @ layer.qkv
            if adapter is not None:
                adapter.apply(index, y, qkv)
            x = x + self._attend(qkv, cache.keys[index], cache.values[index], step) @ layer.output
            both = _normed(x, layer.mlp_norm, eps) @ layer.gate_up
            gate = both[:, :half]
            x = x + (gate / (1 + np.exp(-gate)) * both[:, half:]) @ layer.down
        cache.position += len(tokens)
        logits: Array = _normed(x, self._norm, eps) @ self._head
        return logits

    def _step(self, cache: Cache, count: int) -> _Step:
        start = cache.position
        seen = min(start + count, self.shape.max_position_embeddings)
        mask = None  # a single position may see all that is there
        if count > 1:
            mask = np.triu(np.full((count, seen), -np.inf, np.float32), seen - count + 1)
        angles = np.arange(start, start + count)[:, None] * self._frequencies
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        return _Step(cache.slots(count), seen, cos, sin, mask)

    def _attend(self, qkv: Array, all_keys: Array, all_values: Array, step: _Step) -> Array:
        """Write keys and values to the cache and look back from every new position."""
        heads, size = self.shape.num_attention_heads, self.shape.head_size
        parts = qkv.reshape(-1, 3, heads, size).transpose(1, 2, 0, 3)
        queries, keys = _rotated(parts[:2], step)
        all_keys[:, step.slots] = keys
        all_values[:, step.slots] = parts[2]
        scores = queries @ all_keys[:, : step.seen].transpose(0, 2, 1) * np.float32(size**-0.5)
        if step.mask is not None:
            scores += step.mask
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed: Array = scores @ all_values[:, : step.seen]
        return mixed.transpose(1, 0, 2).reshape(-1, heads * size)


def _layer(tensors: Tensors, index: int) -> _Layer:
    """Matrices are turned to (in, out), as `x @ W` reads them."""
    layer = f"model.layers.{index}."

    def joined(*names: str) -> Array:
        matrices = [tensors[f"{layer}{name}.weight"] for name in names]
        return np.ascontiguousarray(np.concatenate(matrices).T)

    return _Layer(
        input_norm=tensors[f"{layer}input_layernorm.weight"],
        qkv=joined("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        output=joined("self_attn.o_proj"),
        mlp_norm=tensors[f"{layer}post_attention_layernorm.weight"],
        gate_up=joined("mlp.gate_proj", "mlp.up_proj"),
        down=joined("mlp.down_proj"),
    )


def _normed(x: Array, weight: Array, eps: float) -> Array:
    mean = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[-1])
    result: Array = x / np.sqrt(mean + np.float32(eps)) * weight
    return result


def _rotated(x: Array, step: _Step) -> Array:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    result = np.empty(x.shape, np.float32)
    result[..., :half] = first * step.cos - second * step.sin
    result[..., half:] = second * step.cos + first * step.sin
    return result
