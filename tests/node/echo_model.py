"""A model of a Triton that answers with what it was asked, and with what its adapters hold."""

from __future__ import annotations

from pathlib import Path

import grpc.aio

from libs.common.pb import kserve_pb2 as kserve
from libs.common.pb.kserve_pb2_grpc import GRPCInferenceServiceStub
from services.node.ports import InstanceSpec

CONFIG = """
name: "%s"
backend: "python"
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "text" data_type: TYPE_STRING dims: [ -1 ] } ]
"""
ECHO = """
import os
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.adapters = os.path.join(args["model_repository"], "adapters")

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()[0].decode()
        found = [self.read(name) for name in sorted(os.listdir(self.adapters))]
        values = np.array([value.encode() for value in [text, *found]], dtype=object)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("text", values)])

    def read(self, name):
        with open(os.path.join(self.adapters, name, "adapter_config.json")) as config:
            return config.read()
"""


def make_model(models: Path, name: str, code: str = ECHO) -> InstanceSpec:
    (models / name / "1").mkdir(parents=True, exist_ok=True)
    (models / name / "config.pbtxt").write_text(CONFIG % name)
    (models / name / "1" / "model.py").write_text(code)
    return InstanceSpec(
        id=f"ams-1/{name}/0", model=f"@cf/test/{name}", served_as=name, repository=models / name
    )


def make_adapter(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(text)
    return folder


async def ask(address: str, model: str, text: str = "hello") -> list[str]:
    """What the model answers: the text, and what it found of its adapters."""
    request = kserve.ModelInferRequest(model_name=model)
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(text).to_bytes(4, "little") + text.encode())
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    values, raw = [], answer.raw_output_contents[0]
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        values.append(raw[4:end].decode())
        raw = raw[end:]
    return values
