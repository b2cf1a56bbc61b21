"""Which class speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping

from libs.common.catalog import Model
from services.entry.tasks.dialects.base import TextDialect
from services.entry.tasks.dialects.openai_text import OpenAiText
from services.entry.tasks.dialects.tensorrt_llm import TensorRtApiText, TensorRtText
from services.entry.tasks.dialects.tensors import SeedsText, VllmText

OF_TRITON: Mapping[str, type[TextDialect]] = {
    "vllm": VllmText,
    "tensorrt_llm": TensorRtText,
    "tensorrt_llm_api": TensorRtApiText,
}


def text_dialect(model: Model) -> TextDialect:
    """Return how text is asked of this model."""
    if model.backend.kind == "openai_http":
        return OpenAiText(model)
    return OF_TRITON.get(model.backend.dialect, SeedsText)(model)
