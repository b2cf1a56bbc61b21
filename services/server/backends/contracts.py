"""What entry sends a model and reads of it: tensors by task and dialect."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.catalog import Model

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


_LABELS: Final = {"label": "BYTES", "score": "FP32"}
_CLASSIFIER: Final = Contract({"text": TEXT}, {}, {}, _LABELS)
_SAMPLED: Final[Kinds] = {"sampling_parameters": TEXT}
_OTHERS: Final[Mapping[str, Contract]] = {
    "text-classification": _CLASSIFIER,
    "text-to-image": Contract(
        {"prompt": TEXT},
        {
            "negative_prompt": TEXT,
            **dict.fromkeys(("height", "width", "num_steps"), NUMBER),
            **dict.fromkeys(("strength", "guidance"), REAL),
            "seed": Kind("INT64", (1,)),
            **dict.fromkeys(("image", "mask"), TEXT),
        },
        {},
        {"image": "BYTES"},
    ),
    "text-to-speech": Contract(
        {"text": TEXT},
        {
            **dict.fromkeys(("lang", "speaker", "encoding", "container"), TEXT),
            **dict.fromkeys(("sample_rate", "bit_rate"), NUMBER),
        },
        {},
        {"audio": "BYTES"},
    ),
    "automatic-speech-recognition": Contract(
        {"audio": TEXT},
        {
            **dict.fromkeys(
                ("source_lang", "target_lang", "task", "language", "initial_prompt", "prefix"),
                TEXT,
            ),
            **dict.fromkeys(("vad_filter", "condition_on_previous_text"), FLAG),
            "beam_size": NUMBER,
            **dict.fromkeys(
                (
                    "no_speech_threshold",
                    "compression_ratio_threshold",
                    "log_prob_threshold",
                    "hallucination_silence_threshold",
                ),
                REAL,
            ),
        },
        {},
        {"text": "BYTES"},
    ),
    "image-classification": Contract({"image": TEXT}, {}, {}, _LABELS),
    "object-detection": Contract({"image": TEXT}, {}, {}, {**_LABELS, "box": "FP32"}),
    "image-to-text": Contract({"image": TEXT}, {"prompt": TEXT, **_SAMPLED}, {}, {"text": "BYTES"}),
    "image-text-to-text": Contract(
        {"image": TEXT, "prompt": TEXT}, _SAMPLED, {}, {"text": "BYTES"}
    ),
    "translation": Contract(
        dict.fromkeys(("text", "source_lang", "target_lang"), TEXT),
        {},
        {},
        {"translated_text": "BYTES"},
    ),
    "summarization": Contract(
        {"input_text": TEXT, "max_length": NUMBER}, {}, {}, {"summary": "BYTES"}
    ),
    "multimodal-embeddings": Contract(
        {}, {"text": Kind("BYTES", (ANY,)), "image": TEXT}, {}, {"embedding": "FP32"}
    ),
    "dumb-pipe": Contract({"body": TEXT, "content_type": TEXT}, {}, {}, {"body": "BYTES"}),
}
_RERANKER: Final = Contract(
    {"query": TEXT, "contexts": Kind("BYTES", (ANY,))}, {}, {}, {"score": "FP32"}
)


def contract_of(model: Model, dialect: str, inputs: Collection[str] = ()) -> Contract | None:
    """Return what is sent and read for the model's task; `inputs` are those that it declares."""
    if model.task == "text-generation":
        return TEXT_CONTRACTS.get(dialect)
    found = VECTORS if model.task == "text-embeddings" else _OTHERS[model.task]
    if (
        model.task == "text-classification"
        and model.backend.tensors.get("query", "query") in inputs
    ):
        found = _RERANKER
    adapter = _BY_NAME if dialect == "seeds" else {}
    return Contract(found.always, found.sometimes, adapter, found.outputs)
