"""A gRPC client against a real system; tests/conformance has the SDKs."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.common.pb import binding_pb2, binding_pb2_grpc
from tests.system.harness import ACCOUNT, CHAT, EMBED, TOKEN, Up

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]


def test_programs_call_over_grpc(up: Up) -> None:
    request = binding_pb2.RunRequest(
        account=ACCOUNT, model=CHAT, body=b'{"prompt":"Hello!","max_tokens":12,"seed":4}'
    )
    metadata = [("authorization", f"Bearer {TOKEN}")]
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel:
        stub = binding_pb2_grpc.BindingServiceStub(channel)
        answer = stub.Run(request, metadata=metadata, timeout=30)
        parts = list(stub.RunStream(request, metadata=metadata, timeout=30))
        models = stub.Models(binding_pb2.ModelsRequest(account=ACCOUNT), metadata=metadata)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.RpcError) as refused:
            stub.Run(request, timeout=30)

    assert b'"response"' in answer.body
    assert len(parts) > 5
    assert {model.name for model in models.models} >= {CHAT, EMBED}
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
