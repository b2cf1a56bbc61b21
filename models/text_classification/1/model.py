"""@cf/demo/text-classification in Triton's python backend: sentiment, and the reranker's form."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.ranking import relevance
from demo.sentiment import LABELS, Sentiment
from demo.tensors import Inputs, Outputs, count, floats, texts
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """A text to labels and scores, or a query and contexts to scores."""

    def load(self, folder: Path) -> None:
        """Read what was trained."""
        self._sentiment = Sentiment.read(folder / "sentiment.json")

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the scores of the form that was sent."""
        if "query" in inputs:
            query, contexts = inputs.text("query"), inputs.texts("contexts")
            words = sum(len(each.split()) for each in (query, *contexts))
            return {"score": floats(relevance(query, contexts)), "num_tokens": count(words)}
        text = inputs.text("text")
        positive = self._sentiment.positive(text)
        return {
            "label": texts(*LABELS),
            "score": floats([1 - positive, positive]),
            "num_tokens": count(len(text.split())),
        }
