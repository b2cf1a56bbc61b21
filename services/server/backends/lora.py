"""Adapters as whole tensors, for the dialects whose models take them so.

Where the adapter's name sits inside another tensor (vLLM's sampling_parameters),
entry has put it there.
"""

from __future__ import annotations

import json

from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import InferRequest


def tensors_for(model: Model, request: InferRequest) -> list[wire.Tensor]:
    """Return the inputs that a request's adapter adds in the model's dialect."""
    if not request.adapter:
        return []
    match model.backend.dialect:
        case "seeds":
            config = json.dumps({"id": request.finetune, "name": request.adapter})
            return [wire.text("lora_name", request.adapter), wire.text("lora_config", config)]
        case "tensorrt_llm_api":
            return [wire.text("lora_name", request.adapter)]
        case _:
            return []
