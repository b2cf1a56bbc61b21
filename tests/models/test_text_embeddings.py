"""@cf/demo/text-embeddings in a real Triton: vectors that mean something."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from libs.common.pb import kserve_pb2 as kserve
from libs.common.pb.kserve_pb2_grpc import GRPCInferenceServiceStub
from services.node.drivers.triton import TritonDriver
from services.node.ports import InstanceSpec

# One Triton and one event loop for all tests of this module.
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("text_embeddings"),
]

ROOT = Path(__file__).parents[2]
HAPPY = "That is a happy person"


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """An answer of the model."""

    shape: list[int]
    vectors: list[tuple[float, ...]]
    num_tokens: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(
    triton_environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Where the model answers."""
    spec = InstanceSpec(
        id="ams-1/text_embeddings/0",
        model="@cf/demo/text-embeddings",
        served_as="text_embeddings",
        repository=ROOT / "models" / "text_embeddings",
    )
    folder = tmp_path_factory.mktemp("triton")
    async with TritonDriver(folder=folder, environment=triton_environment) as driver:
        yield (await driver.start(spec)).address


async def embed(address: str, texts: Sequence[str], *, pooling: str = "") -> Embeddings:
    request = kserve.ModelInferRequest(model_name="text_embeddings")
    add_strings(request, "text", texts)
    if pooling:
        add_strings(request, "pooling", [pooling])
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=45)
    raw = {
        output.name: content
        for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
    shapes = {output.name: list(output.shape) for output in answer.outputs}
    assert shapes["num_tokens"] == [1]
    return Embeddings(
        shape=shapes["embedding"],
        vectors=list(struct.iter_unpack("<384f", raw["embedding"])),
        num_tokens=int.from_bytes(raw["num_tokens"], "little"),
    )


def add_strings(request: kserve.ModelInferRequest, name: str, values: Sequence[str]) -> None:
    request.inputs.add(name=name, datatype="BYTES", shape=[len(values)])
    encoded = [value.encode() for value in values]
    content = b"".join(len(value).to_bytes(4, "little") + value for value in encoded)
    request.raw_input_contents.append(content)


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_similar_texts_have_similar_vectors(address: str) -> None:
    others = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    answer = await embed(address, [HAPPY, *others])

    first, *rest = answer.vectors
    assert answer.shape == [4, 384]
    assert [similarity(first, vector) for vector in rest] == pytest.approx(
        [0.6946, 0.9429, 0.2569], abs=1e-4
    )


async def test_vectors_have_length_one(address: str) -> None:
    answer = await embed(address, [HAPPY, "", "x" * 5000])

    for vector in answer.vectors:
        assert math.sqrt(similarity(vector, vector)) == pytest.approx(1, abs=1e-5)


async def test_a_text_has_the_same_vector_alone_and_among_others(address: str) -> None:
    texts = ["word " * (1 + 7 * number % 100) for number in range(100)]
    together = await embed(address, texts)

    for number in (0, 1, 42, 99):
        alone = await embed(address, [texts[number]])
        assert together.vectors[number] == pytest.approx(alone.vectors[0], abs=1e-5)


async def test_poolings_differ(address: str) -> None:
    mean, cls = [await embed(address, [HAPPY], pooling=name) for name in ("mean", "cls")]
    default = await embed(address, [HAPPY])

    assert default.vectors == mean.vectors
    assert similarity(mean.vectors[0], cls.vectors[0]) < 0.9


async def test_tokens_are_counted_and_long_texts_cut_off(address: str) -> None:
    assert (await embed(address, [""])).num_tokens == 2  # the marks of begin and end
    assert (await embed(address, [HAPPY, HAPPY])).num_tokens == 14
    assert (await embed(address, ["word " * 1000])).num_tokens == 256


@pytest.mark.parametrize(
    ("texts", "pooling", "message"),
    [
        ([], "", "text: 1 to 100 texts, not 0"),
        (["a"] * 101, "", "text: 1 to 100 texts, not 101"),
        (["a"], "max", "pooling: one of mean, cls, not 'max'"),
    ],
    ids=["no text", "too many texts", "unknown pooling"],
)
async def test_bad_input_is_refused(
    address: str, texts: list[str], pooling: str, message: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await embed(address, texts, pooling=pooling)

    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in (refusal.value.details() or "")
