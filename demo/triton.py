"""A demo model as Triton's python backend calls it: what is left is to answer one request."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from demo.tensors import BadInput, Inputs, Outputs


class DemoModel(ABC):
    """Answers each request by itself: a bad one spoils no other."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load what the model needs from its version's folder."""
        self._name = args["model_name"]
        self.load(Path(args["model_repository"]) / args["model_version"])

    def load(self, folder: Path) -> None:  # noqa: B027 - most models need nothing
        """Read the model's files."""

    @abstractmethod
    def answer(self, inputs: Inputs) -> Outputs:
        """Return the outputs for a request; BadInput for what cannot be answered."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer what Triton has."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        inputs = Inputs({each.name(): each.as_numpy() for each in request.inputs()})
        try:
            outputs = self.answer(inputs)
        except BadInput as error:
            return refusal(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # noqa: BLE001  (a bug: others' requests go on)
            # Its place and kind, but no message: that may hold what the client sent.
            place = "".join(traceback.format_tb(error.__traceback__))
            pb_utils.Logger.log_error(f"{type(error).__name__} in {self._name}:\n{place}")
            return refusal(f"the model failed: {type(error).__name__}")
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, value) for name, value in outputs.items()]
        )


def refusal(message: str, *code: Any) -> Any:
    """A response that is an error; INTERNAL if there is no code."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, *code))
