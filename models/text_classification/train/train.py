"""Trains the sentiment head of @cf/demo/text-classification on the texts beside this file.

    .venv/bin/python models/text_classification/train/train.py

writes `1/sentiment.json`, the same each time, and prints how many of the held-out texts it gets
right, which it has not seen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.sentiment import Sentiment, features

HERE = Path(__file__).resolve().parent
STEPS = 2000
RATE = 0.5
DECAY = 0.002  # towards zero, so that no rare word decides alone
SMALLEST = 0.02  # weights below are left out


def main() -> None:
    """Train, write, and tell how good it is."""
    texts = read(HERE / "texts.tsv")
    weights, bias = train(texts)
    target = HERE.parent / "1" / "sentiment.json"
    kept = {name: round(value, 3) for name, value in weights.items() if abs(value) > SMALLEST}
    value = {"bias": round(bias, 3), "weights": kept}
    target.write_text(json.dumps(value, indent=0, sort_keys=True, ensure_ascii=False) + "\n")
    trained = Sentiment.read(target)
    for name, some in (("training", texts), ("held out", read(HERE / "held_out.tsv"))):
        right = sum((trained.positive(text) > 0.5) == is_positive for text, is_positive in some)
        sys.stdout.write(f"{name}: {right} of {len(some)} right\n")


def read(path: Path) -> list[tuple[str, bool]]:
    """Texts, and whether each is pleased."""
    lines = (line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return [(text, mark == "1") for mark, text in lines]


def train(texts: list[tuple[str, bool]]) -> tuple[dict[str, float], float]:
    """Logistic regression by gradient descent from zero."""
    names = sorted({name for text, _ in texts for name in features(text)})
    at = {name: number for number, name in enumerate(names)}
    has = np.zeros((len(texts), len(names)))
    for row, (text, _) in enumerate(texts):
        has[row, [at[name] for name in features(text)]] = 1
    wanted = np.array([float(is_positive) for _, is_positive in texts])
    weights: NDArray[np.float64] = np.zeros(len(names))
    bias = 0.0
    for _ in range(STEPS):
        error = 1 / (1 + np.exp(-(has @ weights + bias))) - wanted
        weights -= RATE * (has.T @ error / len(texts) * 10 + DECAY * weights)
        bias -= RATE * float(error.mean())
    return dict(zip(names, weights.tolist(), strict=True)), bias


if __name__ == "__main__":
    main()
