"""What a model in Triton declares, held against what its dialect sends and reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.catalog import DIALECTS, Model
from libs.common.pb import kserve_pb2 as kserve

ANY: Final = -1


@dataclass(frozen=True, slots=True)
class Kind:
    """A tensor's datatype and shape."""

    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype}[{','.join(map(str, self.shape))}]"

    def takes(self, sent: Kind) -> bool:
        """Whether this one, as declared, takes the other, as sent."""
        if self.datatype != sent.datatype or len(self.shape) != len(sent.shape):
            return False
        pairs = zip(self.shape, sent.shape, strict=True)
        return all(ours in (ANY, theirs) or theirs == ANY for ours, theirs in pairs)


TEXT, FLAG, NUMBER, REAL = (Kind(name, (1,)) for name in ("BYTES", "BOOL", "INT32", "FP32"))
Kinds = Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class Contract:
    """What a dialect sends with every call, sends with some, and needs to be answered."""

    always: Kinds
    sometimes: Kinds
    adapter: Kinds  # sent with an adapter
    outputs: Mapping[str, str]  # datatypes

    def batched(self) -> Contract:
        """Return the same with a batch of one before every input."""

        def with_one(kinds: Kinds) -> Kinds:
            return {name: Kind(each.datatype, (1, *each.shape)) for name, each in kinds.items()}

        return Contract(
            with_one(self.always), with_one(self.sometimes), with_one(self.adapter), self.outputs
        )


_VLLM: Final = Contract(
    {
        "text_input": TEXT,
        "stream": FLAG,
        "sampling_parameters": TEXT,
        "exclude_input_in_output": FLAG,
        "return_finish_reason": FLAG,
        "return_num_input_tokens": FLAG,
        "return_num_output_tokens": FLAG,
    },
    {},
    {},
    {"text_output": "BYTES"},
)
_SAMPLING: Final[Kinds] = {
    "temperature": REAL,
    "top_k": NUMBER,
    "top_p": REAL,
    "seed": Kind("UINT64", (1,)),
    "presence_penalty": REAL,
    "frequency_penalty": REAL,
}
_INFLIGHT: Final = Contract(
    {"text_input": TEXT, "max_tokens": NUMBER, "stream": FLAG, "exclude_input_in_output": FLAG},
    {**_SAMPLING, "repetition_penalty": REAL, "stop_words": Kind("BYTES", (ANY,))},
    {
        "lora_task_id": Kind("UINT64", (1,)),
        "lora_weights": Kind("FP16", (ANY, ANY)),
        "lora_config": Kind("INT32", (ANY, 3)),
    },
    {"text_output": "BYTES"},
)
_LLM_API: Final = Contract(
    {
        "text_input": TEXT,
        "streaming": FLAG,
        "sampling_param_max_tokens": NUMBER,
        "sampling_param_exclude_input_from_output": FLAG,
        "return_finish_reason": FLAG,
    },
    {f"sampling_param_{name}": kind for name, kind in _SAMPLING.items()}
    | {"sampling_param_stop": Kind("BYTES", (ANY,))},
    {"lora_id": Kind("UINT64", (1,)), "lora_name": TEXT, "lora_path": TEXT},
    {"text_output": "BYTES"},
)
_BY_NAME: Final[Kinds] = {"lora_name": TEXT, "lora_config": TEXT}
TEXT_CONTRACTS: Final[Mapping[str, Contract]] = {
    "vllm": _VLLM,
    "seeds": Contract(_VLLM.always, {}, _BY_NAME, _VLLM.outputs),
    "tensorrt_llm": _INFLIGHT.batched(),
    "tensorrt_llm_api": _LLM_API,
}
VECTORS: Final = Contract(
    {"text": Kind("BYTES", (ANY,))}, {"pooling": TEXT}, {}, {"embedding": "FP32"}
)


def contract_of(model: Model, dialect: str) -> Contract | None:
    """Return what is sent and read for the model's task; None where nothing is known of that."""
    if model.task == "text-generation":
        return TEXT_CONTRACTS.get(dialect)
    if model.task == "text-embeddings":
        adapter = _BY_NAME if dialect == "seeds" else {}
        return Contract(VECTORS.always, VECTORS.sometimes, adapter, VECTORS.outputs)
    return None


def flaw(model: Model, declared: kserve.ModelMetadataResponse) -> str:
    """Return why calls of the model would fail, and what would be right; empty where it fits."""
    backend = model.backend
    found = list(_flaws(model, backend.dialect, declared))
    if not found:
        return ""
    others = [each for each in DIALECTS["triton"] if each != backend.dialect]
    fitting = [each for each in others if not any(True for _ in _flaws(model, each, declared))]
    if fitting and model.task == "text-generation":
        found.append(f"backend.dialect: {' or '.join(fitting)} would fit")
    return "; ".join(found)


def _flaws(model: Model, dialect: str, declared: kserve.ModelMetadataResponse) -> Iterator[str]:
    contract = contract_of(model, dialect)
    if contract is not None:
        yield from _of_inputs(model, dialect, contract, _kinds(declared.inputs))
        yield from _of_outputs(model, contract, _kinds(declared.outputs))


def _of_inputs(model: Model, dialect: str, contract: Contract, there: Kinds) -> Iterator[str]:
    needed = {**contract.always, **(contract.adapter if model.lora.enabled else {})}
    for name, sent in {**contract.sometimes, **needed}.items():
        theirs = model.backend.tensors.get(name, name)
        has = there.get(theirs)
        if has is None:
            if name in needed:
                yield _missing("input", theirs, there)
        elif not has.takes(sent):
            yield _other(theirs, has, sent, dialect)


def _of_outputs(model: Model, contract: Contract, there: Kinds) -> Iterator[str]:
    backend = model.backend
    for name, datatype in contract.outputs.items():
        theirs = backend.tensors.get(name, name)
        if theirs not in there:
            yield _missing("output", theirs, there)
        elif there[theirs].datatype != datatype:
            yield f"output {theirs} is {there[theirs]}, and {datatype} is read"
    counts = {"tokens_in": backend.usage.tokens_in, "tokens_out": backend.usage.tokens_out}
    for field, counted in counts.items():
        if counted and counted not in there:
            yield f"backend.usage.{field}: {_missing('output', counted, there)}"


def _kinds(tensors: Iterable[kserve.ModelMetadataResponse.TensorMetadata]) -> Kinds:
    return {each.name: Kind(each.datatype, tuple(each.shape)) for each in tensors}


def _missing(what: str, name: str, there: Kinds) -> str:
    known = ", ".join(f"{each} {kind}" for each, kind in there.items()) or "none"
    return f"it has no {what} {name} (it has {known}), which backend.tensors could rename"


def _other(name: str, has: Kind, sent: Kind, dialect: str) -> str:
    text = f"input {name} is {has}, and dialect {dialect} sends {sent}"
    if has.datatype == sent.datatype and has.shape == (ANY, *sent.shape):
        return f"{text}: max_batch_size: 0 in its config.pbtxt would fit"
    return text
