"""Traces of requests, from a caller's headers to the backend's, as a real collector gets them.

The Triton is a fake one: the real one does not show the metadata of its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from libs.common.events.values import InferenceEvent
from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from libs.eager import turns_of
from tests.collector import CLIENT, INTERNAL, SERVER, Seen, collecting
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, VECTORS
from tests.tracing_site import ROUTE, Site, Sites
from tests.waiting import until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Sites]:
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(collecting())

        async def start(*, share: float = 1.0, is_traced: bool = True, **more: Any) -> Site:
            site = Site(collector, stack)
            await site.start(tmp_path, share=share, is_traced=is_traced, **more)
            return site

        yield start


def named(spans: list[Seen], name: str) -> Seen:
    (span,) = [each for each in spans if each.name == name]
    return span


async def test_a_call_is_an_entry_a_wait_and_a_backend(site: Sites) -> None:
    here: Site = await site()
    status, _ = await here.run({"prompt": "hi"}, traceparent=SAMPLED, tracestate="a=1,b=2")
    spans = await here.collector.traces(3)

    entry, queue, chat = spans
    assert [each.name for each in spans] == [ROUTE, "queue", f"chat {TEXT}"]
    assert [each.kind for each in spans] == [SERVER, INTERNAL, CLIENT]
    assert (entry.trace_id, entry.parent_id, entry.state) == (TRACE, CALLER, "a=1,b=2")
    assert entry.holds(queue)
    assert entry.holds(chat)
    assert queue.ended_ns == chat.began_ns  # the permit
    assert not any(each.has_failed for each in spans)
    assert status == entry.attributes["http.response.status_code"] == 200
    assert entry.attributes["http.route"] == ROUTE.removeprefix("POST ")
    assert entry.attributes["constellation.model"] == TEXT
    assert entry.attributes["constellation.account"] == ACCOUNT
    assert entry.attributes["constellation.request_id"] == here.event.request_id
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.request.model"] == TEXT
    assert chat.attributes["gen_ai.response.model"] == "talks"
    assert chat.attributes["gen_ai.usage.input_tokens"] == 7
    assert chat.attributes["gen_ai.usage.output_tokens"] == here.event.tokens_out == 1
    assert chat.attributes["constellation.instance"] == "near"
    assert "error.type" not in chat.attributes
    assert entry.resource == {"service.name": "entry", "service.instance.id": "ams"}
    assert chat.resource["service.name"] == "server"


async def test_the_backend_is_called_under_its_span_and_the_event_leads_there(site: Sites) -> None:
    here: Site = await site()
    await here.run({"prompt": "hi"}, traceparent=SAMPLED, tracestate="a=1")
    chat = named(await here.collector.traces(3), f"chat {TEXT}")

    (headers,) = here.triton.headers
    assert headers["traceparent"] == here.event.traceparent == chat.traceparent
    assert headers["tracestate"] == "a=1"


async def test_a_backend_over_http_gets_both_headers(site: Sites) -> None:
    here: Site = await site()
    status, _ = await here.run({"text": "hi"}, model=VECTORS, traceparent=SAMPLED, tracestate="a=1")
    embeds = named(await here.collector.traces(3), f"embeddings {VECTORS}")

    (headers,) = here.http.headers
    assert (status, headers["traceparent"]) == (200, embeds.traceparent)
    assert headers["tracestate"] == "a=1"
    assert embeds.attributes["http.response.status_code"] == 200
    assert embeds.attributes["gen_ai.usage.input_tokens"] == 4


async def test_a_streams_spans_last_as_long_as_it_and_tell_its_first_part(site: Sites) -> None:
    here: Site = await site()
    _, text = await here.run({"prompt": "hi", "stream": True})
    entry, queue, chat = await here.collector.traces(3)

    assert text.count("data: ") == 5  # three words, the usage and the end
    assert entry.holds(chat)
    first_ns = chat.attributes["gen_ai.response.time_to_first_chunk"] * 1e9
    assert 10e6 <= first_ns <= chat.ended_ns - chat.began_ns - 20e6
    assert chat.attributes["gen_ai.usage.output_tokens"] == 3
    assert here.event.forward_us == pytest.approx((chat.ended_ns - chat.began_ns) / 1000, abs=2)
    assert here.event.queue_us == pytest.approx((queue.ended_ns - queue.began_ns) / 1000, abs=2)
    assert entry.parent_id == ""  # nobody has begun it before


async def test_a_call_that_is_forwarded_goes_on_under_a_span_of_its_hop(site: Sites) -> None:
    here: Site = await site()
    held = asyncio.create_task(here.run({"prompt": "wait"}, traceparent=UNSAMPLED))
    await until(lambda: here.triton.headers)
    await here.run({"prompt": "hi"}, traceparent=SAMPLED)
    entry, forward, queue, chat = await here.collector.traces(4)
    here.triton.gate.set()
    await held

    assert (forward.name, forward.kind) == ("forward", CLIENT)
    assert entry.holds(forward)
    assert forward.holds(queue)
    assert forward.holds(chat)
    assert (forward.resource["service.instance.id"], forward.attributes["constellation.colo"]) == (
        "ams",
        "ams",
    )
    assert forward.attributes["constellation.to.colo"] == chat.attributes["constellation.colo"]
    assert chat.resource["service.instance.id"] == "lhr"
    assert here.far_triton.headers[0]["traceparent"] == chat.traceparent


async def test_a_refused_calls_event_leads_to_where_it_waited_in_vain(site: Sites) -> None:
    here: Site = await site()
    held = [
        asyncio.create_task(here.run({"prompt": "wait"}, traceparent=UNSAMPLED)) for _ in range(2)
    ]
    await until(lambda: here.triton.headers and here.far_triton.headers)
    status, _ = await here.run({"prompt": "hi", "options": {"rejectIfBusy": True}})
    event = here.event
    seen = here.collector.spans
    await until(lambda: {ROUTE, "queue"} <= {each.name for each in seen})
    for each in (here.triton, here.far_triton):
        each.gate.set()
    await asyncio.gather(*held)

    entry = named(seen, ROUTE)
    (queue,) = [each for each in seen if each.traceparent == event.traceparent]
    assert (status, entry.attributes["http.response.status_code"]) == (429, 429)
    assert entry.attributes["error.type"] == queue.attributes["error.type"] == "out_of_capacity"
    assert queue.attributes["constellation.error_code"] == 3040
    assert (entry.has_failed, queue.has_failed) == (False, True)  # 429 is no fault of the server's
    assert (event.error_code, event.traceparent) == (3040, queue.traceparent)


async def test_a_model_that_fails_is_seen_in_its_span_and_in_entrys(site: Sites) -> None:
    here: Site = await site()
    here.triton.fails = True
    status, _ = await here.run({"prompt": "hi"})
    entry, _, chat = await here.collector.traces(3)

    assert (chat.has_failed, chat.attributes["error.type"]) == (True, "model_failed")
    assert entry.attributes["error.type"] == "model_failed"
    assert entry.has_failed == (status >= 500)
    assert "gen_ai.usage.output_tokens" not in chat.attributes


async def test_a_client_that_leaves_ends_its_spans(site: Sites) -> None:
    here: Site = await site()
    call = asyncio.create_task(here.run({"prompt": "wait", "stream": True}, traceparent=SAMPLED))
    await until(lambda: here.triton.headers)
    await asyncio.sleep(0.05)
    call.cancel()
    entry, _, chat = await here.collector.traces(3)

    assert (chat.has_failed, chat.attributes["error.type"]) == (True, "aborted")
    assert chat.attributes["gen_ai.usage.output_tokens"] == 1
    assert entry.attributes["http.response.status_code"] == 499
    assert entry.attributes["error.type"] == "client_left"


async def test_what_is_refused_at_the_door_is_a_span_too(site: Sites) -> None:
    here: Site = await site()
    status, _ = await here.run({"prompt": "hi"}, secret="wrong", traceparent=SAMPLED)
    (entry,) = await here.collector.traces(1)

    assert (status, entry.trace_id, entry.parent_id) == (401, TRACE, CALLER)
    assert entry.attributes["error.type"] == "unauthenticated"


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_a_caller_that_does_not_want_a_trace_gets_none(site: Sites, share: float) -> None:
    here: Site = await site(share=share)
    await here.run({"prompt": "hi"}, traceparent=UNSAMPLED, tracestate="a=1")
    await asyncio.sleep(0.05)

    assert here.collector.spans == []
    assert here.triton.headers[0]["traceparent"] == here.event.traceparent == UNSAMPLED
    assert here.triton.headers[0]["tracestate"] == "a=1"


async def test_of_those_who_do_not_say_only_a_share_is_traced(site: Sites) -> None:
    here: Site = await site(share=0.0)
    await here.run({"prompt": "hi"})
    await here.run({"prompt": "hi"}, traceparent=SAMPLED)  # this one says
    spans = await here.collector.traces(3)

    decided = here.triton.headers[0]["traceparent"]
    assert decided.endswith("-00")  # so that the backend traces no part of it, either
    assert {each.trace_id for each in spans} == {TRACE}


@pytest.mark.parametrize("malformed", ["", "00-a-b-01", f"00-{'0' * 32}-{CALLER}-01"])
async def test_a_malformed_context_is_none(site: Sites, malformed: str) -> None:
    here: Site = await site()
    await here.run({"prompt": "hi"}, traceparent=malformed, tracestate="a=1")
    entry, *_ = await here.collector.traces(3)

    assert (entry.parent_id, entry.state) == ("", "")
    assert entry.trace_id != TRACE
    assert "tracestate" not in here.triton.headers[0]


async def test_without_a_collector_the_callers_context_passes_as_it_came(site: Sites) -> None:
    here: Site = await site(is_traced=False)
    await here.run({"prompt": "hi"}, traceparent=SAMPLED, tracestate="a=1")
    await here.run({"prompt": "hi"}, traceparent="00-a-b-01", tracestate="a=1")
    await here.run({"prompt": "hi"})

    first, second, third = here.triton.headers
    assert (first["traceparent"], first["tracestate"]) == (SAMPLED, "a=1")
    assert {"traceparent", "tracestate"}.isdisjoint({*second, *third})
    turns_of(asyncio.get_running_loop()).settle()
    events = [each for each in here.sink.events if isinstance(each, InferenceEvent)]
    assert [each.traceparent for each in events] == [SAMPLED, "", ""]


async def test_calls_do_not_hear_of_a_collector_that_is_away(site: Sites) -> None:
    here: Site = await site(collector_at="http://127.0.0.1:9")
    answers = [await here.run({"prompt": "hi"}) for _ in range(3)]

    assert {status for status, _ in answers} == {200}


async def test_grpc_has_its_context_in_the_message_or_in_the_metadata(site: Sites) -> None:
    here: Site = await site()
    other = replace_trace(SAMPLED, "a" * 32)
    async with grpc.aio.insecure_channel(here.grpc) as channel:
        stub: Any = BindingServiceStub(channel)
        request = pb.RunRequest(account=ACCOUNT, model=TEXT, body=orjson.dumps({"prompt": "hi"}))
        metadata = [("authorization", f"Bearer {SECRET}"), ("traceparent", SAMPLED)]
        await stub.Run(request, metadata=metadata)
        request.traceparent, request.tracestate = other, "a=1"
        await stub.Run(request, metadata=metadata)
    spans = await here.collector.traces(6)

    first, second = (each for each in spans if each.name == "constellation.v1.BindingService/Run")
    assert (first.trace_id, first.parent_id, first.kind) == (TRACE, CALLER, SERVER)
    assert (second.trace_id, second.state) == ("a" * 32, "a=1")
    assert first.attributes["rpc.response.status_code"] == "OK"


def replace_trace(traceparent: str, trace_id: str) -> str:
    """Return the header with another trace."""
    version, _, span, flags = traceparent.split("-")
    return "-".join((version, trace_id, span, flags))
