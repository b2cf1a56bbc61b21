"""The network in JAX, as training needs it: same names and same maths as the numpy runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Weights = dict[str, Any]
LORA_TARGETS = ("q_proj", "v_proj")


@dataclass(frozen=True)
class Shape:
    """The sizes of the network; written to `config.json` beside the weights."""

    vocab_size: int = 259
    hidden_size: int = 192
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    intermediate_size: int = 512
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 512


def initial_weights(shape: Shape, seed: int) -> Weights:
    """Normal initial weights; what writes to the residual stream starts smaller."""
    rng = np.random.default_rng(seed)
    h, m, v = shape.hidden_size, shape.intermediate_size, shape.vocab_size
    calm = 0.02 / np.sqrt(2 * shape.num_hidden_layers)

    def normal(rows: int, columns: int, scale: float) -> jax.Array:
        return jnp.asarray(rng.normal(0, scale, (rows, columns)), jnp.float32)

    weights: Weights = {"model.embed_tokens.weight": normal(v, h, 0.02)}
    for i in range(shape.num_hidden_layers):
        layer = f"model.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj"):
            weights[f"{layer}self_attn.{name}.weight"] = normal(h, h, h**-0.5)
        weights[f"{layer}self_attn.o_proj.weight"] = normal(h, h, calm)
        weights[f"{layer}mlp.gate_proj.weight"] = normal(m, h, h**-0.5)
        weights[f"{layer}mlp.up_proj.weight"] = normal(m, h, h**-0.5)
        weights[f"{layer}mlp.down_proj.weight"] = normal(h, m, calm)
        weights[f"{layer}input_layernorm.weight"] = jnp.ones(h)
        weights[f"{layer}post_attention_layernorm.weight"] = jnp.ones(h)
    weights["model.norm.weight"] = jnp.ones(h)
    weights["lm_head.weight"] = normal(v, h, 0.02)
    return weights


def initial_lora(shape: Shape, rank: int, seed: int) -> Weights:
    """PEFT's start: A random, B zero, so that training begins at the base model."""
    rng = np.random.default_rng(seed)
    h = shape.hidden_size
    lora: Weights = {}
    for i in range(shape.num_hidden_layers):
        for name in LORA_TARGETS:
            prefix = f"base_model.model.model.layers.{i}.self_attn.{name}"
            lora[f"{prefix}.lora_A.weight"] = jnp.asarray(
                rng.normal(0, h**-0.5, (rank, h)), jnp.float32
            )
            lora[f"{prefix}.lora_B.weight"] = jnp.zeros((h, rank))
    return lora


def merged(weights: Weights, lora: Weights, scale: float) -> Weights:
    """W + scale B A for every projection that the adapter has."""
    result = dict(weights)
    for name, a in lora.items():
        if name.endswith(".lora_A.weight"):
            prefix = name.removesuffix(".lora_A.weight")
            target = prefix.removeprefix("base_model.model.") + ".weight"
            result[target] = result[target] + scale * lora[f"{prefix}.lora_B.weight"] @ a
    return result


def _norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def _rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def forward(shape: Shape, weights: Weights, tokens: jax.Array, documents: jax.Array) -> jax.Array:
    """Logits (batch, position, vocabulary); a position sees the earlier ones of its document."""
    batch, length = tokens.shape
    heads, eps = shape.num_attention_heads, shape.rms_norm_eps
    size = shape.hidden_size // heads
    frequency = shape.rope_theta ** (-jnp.arange(size // 2) * 2 / size)
    angles = jnp.arange(length)[:, None] * frequency
    cos, sin = jnp.cos(angles)[:, None, :], jnp.sin(angles)[:, None, :]
    mask = jnp.tril(jnp.ones((length, length), bool)) & (
        documents[:, :, None] == documents[:, None, :]
    )
    bias = jnp.where(mask, 0.0, -1e30)[:, None]

    x = weights["model.embed_tokens.weight"][tokens]
    for i in range(shape.num_hidden_layers):
        layer = f"model.layers.{i}."
        y = _norm(x, weights[f"{layer}input_layernorm.weight"], eps)
        q, k, v = (
            (y @ weights[f"{layer}self_attn.{p}_proj.weight"].T).reshape(batch, length, heads, size)
            for p in "qkv"
        )
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * size**-0.5 + bias
        y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v).reshape(batch, length, -1)
        x = x + y @ weights[f"{layer}self_attn.o_proj.weight"].T
        y = _norm(x, weights[f"{layer}post_attention_layernorm.weight"], eps)
        gate = jax.nn.silu(y @ weights[f"{layer}mlp.gate_proj.weight"].T)
        up = y @ weights[f"{layer}mlp.up_proj.weight"].T
        x = x + (gate * up) @ weights[f"{layer}mlp.down_proj.weight"].T
    return _norm(x, weights["model.norm.weight"], eps) @ weights["lm_head.weight"].T
