"""A fake server, and a small world around it, for entry's tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import orjson
from prometheus_client import CollectorRegistry

from libs.common import wire
from libs.common.catalog import Backend, Finetune, Lora, Model
from libs.common.clock import Clock
from libs.common.envelope import InferReply, InferRequest, Outcome, Usage
from libs.common.errors import DeadlineExceeded, RequestError, StreamLost
from libs.common.finetunes import FinetuneWrites
from libs.common.pb import kserve_pb2 as kserve
from libs.common.ports import Explains, Inference, Send
from libs.common.spans import Spans
from libs.common.tokens import token_hash
from libs.common.usage import UsageSource
from libs.common.wire import Tensor
from libs.common.world import World
from libs.common.world_map import (
    Account,
    Colo,
    Resource,
    Server,
    Shard,
    ShardLoad,
    Token,
)
from services.entry.app import Bound, Config, Entry, build, serve
from services.entry.metrics import EntryMetrics
from tests.fakes import FakeUsage, NoDecisions, NoFinetunes, put

ACCOUNT = "0123456789abcdef0123456789abcdef"
OTHER_ACCOUNT = "f" * 32
SECRET, OTHER_SECRET, EXPIRED_SECRET, BLOCKED_SECRET = "secret", "other", "expired", "blocked"
TEXT, VECTORS, PRIVATE = "@cf/demo/text-generation", "@cf/demo/text-embeddings", "@cf/demo/private"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
OUTCOME = Outcome(usage=Usage(tokens_in=3, tokens_out=2), serving_colo="ams", free_permits=4)

TEXT_MODEL = Model(
    name=TEXT,
    task="text-generation",
    aliases=("demo",),
    backend=Backend(dialect="vllm", chat_template="chat.jinja"),
    lora=Lora(enabled=True),
    schema={"max_tokens": {"maximum": 512.0}},
)
VECTOR_MODEL = Model(name=VECTORS, task="text-embeddings")


def response(*tensors: Tensor) -> bytes:
    """Write what a model answers."""
    message = kserve.ModelInferResponse()
    for each in tensors:
        message.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        message.raw_output_contents.append(each.data)
    return message.SerializeToString()


def says(text: str | bytes, finish_reason: str = "None") -> bytes:
    """Write a text model's answer, or one part of it."""
    reason = wire.text("finish_reason", finish_reason)
    return response(wire.text("text_output", text), reason)


def vectors(*rows: Sequence[float]) -> bytes:
    """Write an embedding model's answer."""
    array = np.array(rows, dtype=np.float32)
    return response(wire.numbers("embedding", "FP32", array))


class FakeServer:
    """Answers with what it was given: bytes, an exception to raise, or an event to wait for."""

    def __init__(self, *parts: bytes | BaseException | asyncio.Event) -> None:
        self.parts = list(parts)
        self.requests: list[InferRequest] = []
        self.outcome: Outcome | None = OUTCOME
        self.cancelled = asyncio.Event()
        self.reached = asyncio.Event()
        self.running: set[tuple[str, str]] = set()  # (account, id) that `cancel` finds
        self.silent: RequestError | None = None  # what `cancel` raises
        self.delay_s = 0.0

    async def infer(self, request: InferRequest) -> InferReply:
        self.requests.append(request)
        self.reached.set()
        try:
            async with asyncio.timeout(request.time_bounds.first_part_ms / 1000):
                payloads = [each async for each in self._play()]
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        except TimeoutError as error:
            raise DeadlineExceeded("no answer in time", sent=True) from error
        return InferReply(payload=payloads[-1], outcome=OUTCOME)

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        self.requests.append(request)
        self.reached.set()
        ended = False
        try:
            async for payload in self._play():
                room = send((payload,))
                if room is not None:
                    await room
            if self.outcome is None:
                raise StreamLost("the stream ended before its last part", sent=True)
            ended = True
            return self.outcome
        finally:
            if not ended:
                self.cancelled.set()

    async def cancel(self, *, account: str, request_id: str) -> list[str]:
        await asyncio.sleep(self.delay_s)
        if self.silent is not None:
            raise self.silent
        return [each for owner, each in self.running if (owner, each) == (account, request_id)]

    async def _play(self) -> AsyncIterator[bytes]:
        for each in self.parts:
            if isinstance(each, asyncio.Event):
                await each.wait()
            elif isinstance(each, BaseException):
                raise each
            else:
                yield each


def sent_inputs(server: FakeServer, at: int = 0) -> dict[str, list[bytes]]:
    """Return the texts in the tensors that a model was sent."""
    message = kserve.ModelInferRequest.FromString(server.requests[at].payload)
    return {
        each.name: Tensor(each.name, each.datatype, tuple(each.shape), raw).texts()
        for each, raw in zip(message.inputs, message.raw_input_contents, strict=True)
        if each.datatype == "BYTES"
    }


def sent_sampling(server: FakeServer, at: int = 0) -> dict[str, Any]:
    """Return the sampling parameters that a model was sent."""
    told: dict[str, Any] = orjson.loads(sent_inputs(server, at)["sampling_parameters"][0])
    return told


def place(
    model: str, colo: str, *, free: int = 4, permits: int = 4, **rest: Any
) -> tuple[Resource, ...]:
    """Return a model's shard in a colo, its server and its load."""
    server = f"server-{colo}"
    return (
        Colo(name=colo),
        Server(name=server, colo=colo, address=f"local:{server}"),
        Shard(model=model, colo=colo, index=0, owner=server, epoch=7),
        ShardLoad(
            model=model, colo=colo, index=0, server=server, permits=permits, free=free, **rest
        ),
    )


def small_world(*colos: str) -> World:
    """Return a world with two models, three accounts and a finetune, served in some colos."""
    world = World()
    places = [each for colo in colos for model in (TEXT, VECTORS) for each in place(model, colo)]
    tokens = (
        Token(hash=token_hash(SECRET), account=ACCOUNT, max_priority=6),
        Token(hash=token_hash(OTHER_SECRET), account=OTHER_ACCOUNT),
        Token(hash=token_hash(EXPIRED_SECRET), account=ACCOUNT, expires_at_ms=1),
        Token(hash=token_hash(BLOCKED_SECRET), account="b" * 32),
    )
    folder = "models/text_generation/adapters/pirate"
    put(
        world,
        TEXT_MODEL,
        VECTOR_MODEL,
        Account(id=ACCOUNT),
        Account(id=OTHER_ACCOUNT),
        Account(id="b" * 32, blocked=True),
        Finetune(id="ft-1", name="pirate", model=TEXT, account=ACCOUNT, adapter=folder),
        Finetune(id="ft-2", name="vectors-only", model=VECTORS, account=ACCOUNT),
        Finetune(id="ft-4", name="half", model=TEXT, account=ACCOUNT),
        Finetune(id="ft-3", name="theirs", model=TEXT, account=OTHER_ACCOUNT),
        *tokens,
        *places,
        complete=True,
    )
    return world


def entry_of(
    world: World,
    servers: Mapping[str, Inference],
    *,
    config: Config | None = None,
    clock: Clock | None = None,
    finetunes: FinetuneWrites | None = None,
    usage: UsageSource | None = None,
    spans: Spans | None = None,
    explains: Explains | None = None,
) -> Entry:
    """Build an entry in ams over fake servers by colo."""
    addresses = {f"local:server-{colo}": server for colo, server in servers.items()}
    connections: Callable[[str], Inference] = addresses.__getitem__
    return build(
        config or Config(colo="ams", http="127.0.0.1:0", grpc="", drain_s=2.0),
        world=world,
        connections=connections,
        finetunes=finetunes or NoFinetunes(),
        usage=usage or FakeUsage(),
        explains=explains or NoDecisions(),
        metrics=EntryMetrics(CollectorRegistry()),
        templates={"chat.jinja": TEMPLATE}.__getitem__,
        clock=clock,
        rng=random.Random(7),
        spans=spans,
    )


@asynccontextmanager
async def listening(
    server: FakeServer,
    *,
    world: World | None = None,
    usage: UsageSource | None = None,
    **config: Any,
) -> AsyncIterator[Bound]:
    """Listen with an entry over one fake server."""
    settings: dict[str, Any] = {"colo": "ams", "http": "127.0.0.1:0", "grpc": "", "drain_s": 2.0}
    entry = entry_of(
        world or small_world("ams"),
        {"ams": server},
        config=Config(**(settings | config)),
        usage=usage,
    )
    async with serve(entry.config, entry) as bound:
        yield bound
