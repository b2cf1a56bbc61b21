"""Texts to vectors: tokenizer and onnxruntime session of all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Sequence

import minilm
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

POOLINGS = ("mean", "cls")  # the first is the default; outputs of the graph
MAXIMUM_TOKENS = 256  # of one text; what is longer is cut off
BATCH = 16  # texts computed at once: larger is not faster on a CPU
THREADS = 2


class Embedder:
    """The model, loaded."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(minilm.weights_folder() / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAXIMUM_TOKENS)
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        # Threads that spin while there is no work would take the CPU from the other models.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(minilm.ensure_graph()), options, providers=["CPUExecutionProvider"]
        )

    def embed(self, texts: Sequence[str], *, pooling: str) -> tuple[NDArray[np.float32], int]:
        """One unit vector per text, and how many tokens all of them have."""
        encodings = self._tokenizer.encode_batch(list(texts))
        lengths = [len(encoding.ids) for encoding in encodings]
        vectors = np.empty((len(texts), minilm.DIMENSIONS), np.float32)
        # Texts of like length go together, so that little of a batch is padding.
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            vectors[rows] = self._run([encodings[row] for row in rows], pooling)
        return vectors, sum(lengths)

    def _run(self, encodings: Sequence[Encoding], pooling: str) -> NDArray[np.float32]:
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        vectors: NDArray[np.float32] = self._session.run([pooling], inputs)[0]
        return vectors
