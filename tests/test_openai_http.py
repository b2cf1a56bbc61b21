"""Entry and server in one process before servers with OpenAI's API: a request's whole walk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession, web

from libs.common.catalog import Backend, Finetune, Lora, Model, Price
from libs.common.clock import SystemClock
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Flag, InferenceEvent
from libs.common.world_map import Instance
from libs.eager import turns_of
from services.entry.app import Config, serve
from services.server.backends.keys import Keys
from services.server.backends.openai_http import OpenAiBackend
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, VECTORS, entry_of, small_world
from tests.fakes import a_server, put

WORDS = [f"word{n} " for n in range(20)]
PROMPT_TOKENS = 5


class VllmServer:
    """Says twenty words, or what is left of them; may be told to die after some."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.dies_after = -1

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _embed(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self.bodies.append(body)
        rows = [{"index": at, "embedding": [at, 1]} for at, _ in enumerate(body["input"])]
        usage = {"prompt_tokens": 2 * len(rows), "total_tokens": 2 * len(rows)}
        return web.json_response({"data": rows, "usage": usage})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.bodies.append(body)
        last = body["messages"][-1]
        said = last["content"] if last["role"] == "assistant" else ""
        words = WORDS[said.count(" ") :][: body["max_tokens"]]
        tokens_in = PROMPT_TOKENS + said.count(" ")
        if not body["stream"]:
            usage = {"prompt_tokens": tokens_in, "completion_tokens": len(words)}
            choice = {"message": {"content": "".join(words)}, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for at, word in enumerate(words):
            if at == self.dies_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            usage = {"prompt_tokens": tokens_in, "completion_tokens": at + 1}
            await tell(response, {"choices": [{"delta": {"content": word}}], "usage": usage})
        usage = {"prompt_tokens": tokens_in, "completion_tokens": len(words)}
        await tell(response, {"choices": [{"delta": {}, "finish_reason": "stop"}]})
        await tell(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response


async def tell(response: web.StreamResponse, event: Mapping[str, Any]) -> None:
    await response.write(b"data: " + orjson.dumps(event) + b"\n\n")


class Edge:
    """An entry with its server, and a client of it."""

    def __init__(self, url: str, client: ClientSession, sink: MemorySink) -> None:
        self._url = url
        self._client = client
        self._sink = sink

    async def run(self, model: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {SECRET}"}
        url = f"{self._url}/client/v4/accounts/{ACCOUNT}/ai/run/{model}"
        async with self._client.post(url, json=body, headers=headers) as response:
            text = await response.text()
            assert response.status == 200, text
            if not body.get("stream"):
                return orjson.loads(text)["result"]
            datas = [line.removeprefix("data: ") for line in text.splitlines() if line]
            assert datas[-1] == "[DONE]"
            return [orjson.loads(each) for each in datas[:-1]]

    def events(self) -> list[InferenceEvent]:
        turns_of(asyncio.get_running_loop()).settle()
        return [each for each in self._sink.events if isinstance(each, InferenceEvent)]


@asynccontextmanager
async def edge(*models: VllmServer) -> AsyncIterator[Edge]:
    async with AsyncExitStack() as stack:
        addresses = tuple([await stack.enter_async_context(each.serving()) for each in models])
        world, sink = small_world("ams"), MemorySink()
        backend = Backend(kind="openai_http", dialect="vllm", served_as="org/M", external=addresses)
        price = Price(per_token_in=1, per_token_out=100, per_request=10_000)
        shared: dict[str, Any] = {"backend": backend, "price": price}
        lora = Lora(enabled=True)
        put(
            world,
            Model(name=TEXT, task="text-generation", lora=lora, **shared),
            Model(name=VECTORS, task="text-embeddings", **shared),
            Finetune(id="ft-1", name="pirate", model=TEXT, account=ACCOUNT),
            *(
                Instance(
                    id=f"{model}/{address}",
                    model=model,
                    colo="ams",
                    address=address,
                    state="ready",
                    external=True,
                )
                for model in (TEXT, VECTORS)
                for address in addresses
            ),
        )
        http = OpenAiBackend(keys=Keys(None))
        stack.push_async_callback(http.close)
        server = a_server(world, http, sink, SystemClock(), name="server-ams")
        config = Config(colo="ams", http="127.0.0.1:0", grpc="", drain_s=1.0)
        entry = entry_of(world, {"ams": server}, config=config)
        bound = await stack.enter_async_context(serve(config, entry))
        client = await stack.enter_async_context(ClientSession())
        yield Edge(f"http://{bound.http}", client, sink)


USAGE = {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25}


async def test_a_text_is_answered_whole_and_priced() -> None:
    model = VllmServer()
    async with edge(model) as running:
        result = await running.run(TEXT, prompt="hi")
        (told,) = running.events()

    assert result == {"response": "".join(WORDS), "finish_reason": "stop", "usage": USAGE}
    assert model.bodies[0]["model"] == "org/M"
    assert (told.tokens_in, told.tokens_out, told.neurons) == (5, 20, 10_000 + 5 + 2_000)
    assert told.flags & Flag.EXTERNAL_ENDPOINT


async def test_an_adapter_and_vectors_find_their_way() -> None:
    model = VllmServer()
    async with edge(model) as running:
        await running.run(TEXT, prompt="hi", lora="pirate")
        result = await running.run(VECTORS, text=["a", "b"])
        told = running.events()[-1]

    assert [each["model"] for each in model.bodies] == ["ft-1", "org/M"]
    assert result["data"] == [[0, 1], [1, 1]]
    assert (told.tokens_in, told.tokens_out) == (4, 0)


@pytest.mark.parametrize("dies_after", [0, 1, 7])
async def test_a_stream_goes_on_where_the_other_server_is(dies_after: int) -> None:
    models = VllmServer(), VllmServer()
    models[0].dies_after = dies_after
    async with edge(*models) as running:
        shown: list[Any] = []
        while not models[0].bodies:  # until the one that dies is chosen
            models[1].bodies.clear()
            shown = await running.run(TEXT, prompt="hi", stream=True)
        events = running.events()[-2:]

    assert "".join(each["response"] for each in shown) == "".join(WORDS)
    assert [each["usage"] for each in shown if "usage" in each] == [USAGE]
    assert [each["finish_reason"] for each in shown if "finish_reason" in each] == ["stop"]
    assert [each.attempt for each in events] == [0, 1]
    assert [each.error_code for each in events] == [3045 if dies_after else 3043, 0]
    if dies_after:
        said = {"role": "assistant", "content": "".join(WORDS[:dies_after])}
        (went_on,) = models[1].bodies
        assert went_on["messages"][-1] == said
        assert went_on["max_tokens"] == 256 - dies_after
        assert sum(each.neurons for each in events) == 10_000 + 5 + 2_000
        assert [each.tokens_out for each in events] == [dies_after, 20 - dies_after]
