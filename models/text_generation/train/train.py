"""Trains the base model in three stages, or an adapter on top of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import network
import numpy as np
import optax
from batches import Batch, Source, any_document, batch, exercise_document, style_document
from network import Shape, Weights

MODEL = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(MODEL / "1"))

from tinylm.weights import read_tensors, write_tensors  # noqa: E402  (found by the path above)

RANK, ALPHA = 8, 16
Loss = Callable[[Weights, Batch], jax.Array]
Draw = Callable[[], Batch]


def loss_of(shape: Shape, weights: Weights, data: Batch) -> jax.Array:
    """Mean cross-entropy, weighted by token."""
    tokens, targets, importance, documents = data
    logits = network.forward(shape, weights, tokens, documents)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.sum(losses * importance) / jnp.sum(importance)


def base_optimizer(steps: int, *, muon: float, adam: float) -> optax.GradientTransformation:
    """Muon for the matrices of the layers, Adam for embedding, head and norms."""
    muon_schedule = optax.warmup_cosine_decay_schedule(0.0, muon, 50, steps, muon / 100)
    adam_schedule = optax.warmup_cosine_decay_schedule(0.0, adam, 50, steps, adam / 100)

    def dimensions(weights: Weights) -> dict[str, optax.contrib.MuonDimensionNumbers | None]:
        matrix = optax.contrib.MuonDimensionNumbers(0, 1)
        return {name: matrix if "_proj" in name else None for name in weights}

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            muon_schedule,
            adam_learning_rate=adam_schedule,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=dimensions,
        ),
    )


def lora_optimizer(steps: int) -> optax.GradientTransformation:
    """Adam with a short warm-up."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-3, 20, steps, 1e-5)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def fit(
    weights: Weights,
    *,
    loss: Loss,
    draw: Draw,
    optimizer: optax.GradientTransformation,
    steps: int,
    keep: Callable[[Weights], None],
) -> None:
    """Train for so many steps; print the loss now and then, and keep what is there."""
    state = optimizer.init(weights)

    @jax.jit
    def step(
        weights: Weights, state: optax.OptState, data: Batch
    ) -> tuple[Weights, optax.OptState, jax.Array]:
        value, gradients = jax.value_and_grad(loss)(weights, data)
        updates, state = optimizer.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state, value

    start, recent = time.monotonic(), []
    for number in range(1, steps + 1):
        weights, state, value = step(weights, state, draw())
        recent.append(float(value))
        if number % 50 == 0 or number == steps:
            say(f"{number:5d} loss {np.mean(recent):.4f} {time.monotonic() - start:6.0f} s")
            recent = []
        if number % 200 == 0 or number == steps:
            keep(weights)


def train_base(steps: int, seed: int) -> None:
    """From nothing, on short rows; stops before the learning rate is all down."""
    shape = Shape()
    weights = network.initial_weights(shape, seed)
    say(f"{sum(value.size for value in weights.values())} parameters")
    (MODEL / "1" / "config.json").write_text(json.dumps(dataclasses.asdict(shape), indent=2) + "\n")
    optimizer = base_optimizer(steps * 23 // 18, muon=7e-3, adam=4e-3)
    fit_base(weights, optimizer, steps, rows=16, length=160, seed=seed)


def train_long(steps: int, seed: int) -> None:
    """Goes on with rows as long as the context, so that all distances are learnt."""
    optimizer = base_optimizer(steps, muon=2.5e-3, adam=1.5e-3)
    length = Shape().max_position_embeddings
    fit_base(base_weights(), optimizer, steps, rows=5, length=length, seed=seed + 1)


def train_exercises(steps: int, seed: int) -> None:
    """Goes on with more of what is hard to learn."""
    optimizer = base_optimizer(steps, muon=1.5e-3, adam=8e-4)
    source = exercise_document
    fit_base(base_weights(), optimizer, steps, rows=10, length=256, seed=seed + 2, source=source)


def fit_base(
    weights: Weights,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    rows: int,
    length: int,
    seed: int,
    source: Source = any_document,
) -> None:
    """Train all weights on rows of this length."""
    shape, rng = Shape(), random.Random(seed)
    fit(
        weights,
        loss=lambda w, data: loss_of(shape, w, data),
        draw=lambda: batch(rng, rows, length, source),
        optimizer=optimizer,
        steps=steps,
        keep=lambda w: write_tensors(MODEL / "1" / "model.safetensors", _arrays(w), half=True),
    )


def base_weights() -> Weights:
    """What has been trained before."""
    tensors = read_tensors(MODEL / "1" / "model.safetensors")
    return {name: jnp.asarray(value) for name, value in tensors.items()}


def train_adapter(style: str, steps: int, seed: int) -> None:
    """A LoRA on q_proj and v_proj, on conversations all told in the style."""
    shape = Shape()
    rng = random.Random(seed)
    weights = base_weights()

    def loss(lora: Weights, data: Batch) -> jax.Array:
        return loss_of(shape, network.merged(weights, lora, ALPHA / RANK), data)

    folder = MODEL / "adapters" / style
    folder.mkdir(parents=True, exist_ok=True)
    fit(
        network.initial_lora(shape, RANK, seed),
        loss=loss,
        draw=lambda: batch(rng, 8, 256, partial(style_document, style)),
        optimizer=lora_optimizer(steps),
        steps=steps,
        keep=lambda lora: write_tensors(folder / "adapter_model.safetensors", _arrays(lora)),
    )
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config(), indent=2) + "\n")


def adapter_config() -> dict[str, object]:
    """What PEFT writes beside an adapter, and the model type that the catalog asks for."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "@cf/demo/text-generation",
        "model_type": "demo",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_modules": list(network.LORA_TARGETS),
        "bias": "none",
        "inference_mode": True,
    }


def _arrays(weights: Weights) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in weights.items()}


def say(line: str) -> None:
    """Tell whoever waits for it how far the training is."""
    print(line, flush=True)  # noqa: T201  (a command line prints)


STAGES = {
    "base": (train_base, 1800),
    "long": (train_long, 500),
    "exercises": (train_exercises, 400),
}


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=(*STAGES, "pirate", "haiku"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.what in STAGES:
        stage, steps = STAGES[arguments.what]
        stage(arguments.steps or steps, arguments.seed)
    else:
        train_adapter(arguments.what, arguments.steps or 1000, arguments.seed)


if __name__ == "__main__":
    main()
