"""The official `openai` SDK, and a gRPC client, against a real system."""

from __future__ import annotations

import grpc
import openai
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.common.pb import binding_pb2, binding_pb2_grpc
from tests.system.harness import ACCOUNT, CHAT, EMBED, TOKEN, Up

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]
ASKED = {"temperature": 0.0, "max_tokens": 40, "seed": 1}
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def sdk(up: Up) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{up.client.account}/ai/v1", api_key=TOKEN)


def native(up: Up) -> str:
    body = up.client.run(CHAT, messages=MESSAGES, **ASKED).json()
    return str(body["result"]["response"])


def test_the_sdk_gets_the_same_answer(up: Up, sdk: openai.OpenAI) -> None:
    with sdk:
        answer = sdk.chat.completions.create(model=CHAT, messages=MESSAGES, **ASKED)  # type: ignore[call-overload]

    assert answer.choices[0].message.content == native(up)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_sdk_streams_the_same_answer(up: Up, sdk: openai.OpenAI) -> None:
    with sdk:
        chunks = list(
            sdk.chat.completions.create(  # type: ignore[call-overload]
                model=CHAT,
                messages=MESSAGES,
                stream=True,
                stream_options={"include_usage": True},
                **ASKED,
            )
        )

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == native(up)
    assert chunks[-1].usage.completion_tokens > 5


def test_the_sdk_embeds(up: Up, sdk: openai.OpenAI) -> None:
    with sdk:
        answer = sdk.embeddings.create(model=EMBED, input=["a cat", "a kitten", "a tax form"])

    cat, kitten, form = (each.embedding for each in answer.data)
    near, far = (sum(a * b for a, b in zip(cat, x, strict=True)) for x in (kitten, form))
    assert (len(cat), near > far + 0.2) == (384, True)


def test_the_sdk_raises_its_own_errors(up: Up, sdk: openai.OpenAI) -> None:
    with sdk, pytest.raises(openai.BadRequestError, match="No such model"):
        sdk.chat.completions.create(model="@cf/none", messages=MESSAGES)  # type: ignore[arg-type]
    stranger = openai.OpenAI(base_url=sdk.base_url, api_key="wrong")
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


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
    assert {model.name for model in models.models} == {CHAT, EMBED}
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
