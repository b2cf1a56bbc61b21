"""Service bindings: BindingService over gRPC, the same calls without HTTP's clothes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from libs.common.envelope import RequestSource, TimeBounds
from libs.common.errors import DeadlineExceeded, RequestError
from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import (
    BindingServiceServicer,
    add_BindingServiceServicer_to_server,
)
from libs.common.rpc import Context
from libs.common.trace_context import TRACEPARENT, TRACESTATE
from libs.common.world_map import Scope, Token
from libs.eager import promised
from libs.http1 import TlsFiles
from libs.live_tls import Live
from services.entry.auth import Auth
from services.entry.calls import NOT_READ, Call, Plan, Told
from services.entry.cancelling import Cancelling
from services.entry.clients import FORWARDED, Clients
from services.entry.fronts.bodies import client_id, to_json, too_large, written
from services.entry.fronts.grpc_errors import told
from services.entry.fronts.health import Health
from services.entry.gateway import Gateway
from services.entry.limits import longest_stream_s
from services.entry.metrics import Counted, EntryMetrics
from services.entry.tasks.base import Shown, results
from services.entry.tasks.sent import Sent

SOURCES = {
    pb.SOURCE_PAGES_BINDING: RequestSource.PAGES_BINDING,
    pb.SOURCE_REST: RequestSource.REST,
}
SERVICE = pb.DESCRIPTOR.services_by_name["BindingService"].full_name


class Bindings(BindingServiceServicer):
    """Adapts the gateway to the generated service."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        cancelling: Cancelling,
        auth: Auth,
        clients: Clients,
        metrics: EntryMetrics,
        max_body_bytes: int,
    ) -> None:
        self._gateway = gateway
        self._cancelling = cancelling
        self._auth = auth
        self._clients = clients
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:
        """Run a model and answer once."""
        async with told(context):
            with self._metrics.request(self._gateway.colo, "gRPC Run") as counted:
                plan = await self._planned(request, context, counted, stream=False)
                counted.task, counted.plan = plan.task.name, plan
                await _tell_ids(plan.request.request_id, request, context)
                with holding(plan):
                    answer = await self._gateway.run(plan)
            _tell_model(plan, context)
            body, kind = written(answer.result)
            return pb.RunResponse(body=body, content_type=kind, request_id=plan.request.request_id)

    async def RunStream(  # type: ignore[override]  # may write, too; the stub knows yield alone
        self, request: pb.RunRequest, context: Context
    ) -> None:
        """Run a model and answer part by part."""
        async with told(context):
            with self._metrics.request(self._gateway.colo, "gRPC RunStream") as counted:
                plan = await self._planned(request, context, counted, stream=True)
                counted.task, counted.plan = plan.task.name, plan
                await _tell_ids(plan.request.request_id, request, context)
                with holding(plan):
                    if not plan.request.stream:
                        answer = await self._gateway.run(plan)
                        _tell_model(plan, context)
                        body, kind = written(answer.result)
                        await context.write(pb.RunStreamResponse(body=body, content_type=kind))
                    else:
                        await self._write(plan, context)

    async def Models(self, request: pb.ModelsRequest, context: Context) -> pb.ModelsResponse:
        """List what the account may run."""
        async with told(context):
            with self._metrics.request(self._gateway.colo, "gRPC Models"):
                token = self._token(context, request.account, scope="read")
                models = self._gateway.models(token.account)
            return pb.ModelsResponse(
                models=[
                    pb.ModelsResponse.Model(name=m.name, task=m.task, description=m.description)
                    for m in models
                    if request.task in ("", m.task)
                ]
            )

    async def Cancel(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Cancel requests of the account by their id."""
        async with told(context):
            with self._metrics.request(self._gateway.colo, "gRPC Cancel"):
                token = self._token(context, request.account)
                found = await self._cancelling.cancel(
                    account=token.account, request_id=request.request_id
                )
            return pb.CancelRunResponse(request_ids=found)

    async def _write(self, plan: Plan, context: Context) -> None:
        """Write a stream; writes wait for the reader, so all of them together are bounded."""

        async def write(shown: Sequence[Shown]) -> None:
            for result in chain.from_iterable(map(results, shown)):
                await context.write(pb.RunStreamResponse(body=to_json(result)))

        try:
            async with asyncio.timeout(longest_stream_s(plan.model.timeouts)):
                await self._gateway.stream(plan, lambda shown: promised(write(shown)))
            _tell_model(plan, context)
        except TimeoutError as error:
            raise DeadlineExceeded("the stream was not read in time", sent=True) from error

    async def _planned(
        self, request: pb.RunRequest, context: Context, counted: Counted, *, stream: bool
    ) -> Plan:
        """Plan a call; one that is refused gets an id and a trace, too."""
        carried = counted.carried(*_caller(request, context))
        try:
            call = self._call(request, context, stream=stream)
            call.traceparent, call.tracestate = carried
            return self._gateway.plan(call)
        except RequestError:
            await _tell_ids(self._gateway.new_id(), request, context)
            raise

    def _token(self, context: Context, account: str, *, scope: Scope = "run") -> Token:
        """Authenticate, if the caller's address may ask for more."""
        peer, headers = context.peer(), _headers(context)
        self._clients.request(peer, headers)
        return self._auth.caller(headers, account=account, scope=scope, peer=peer)

    def _call(self, request: pb.RunRequest, context: Context, *, stream: bool) -> Call:
        token = self._token(context, request.account)
        if len(request.body) > self._max_body_bytes:
            raise too_large(self._max_body_bytes)
        left = context.time_remaining()
        total_ms = 0 if left is None else max(1, int(left * 1000))
        return Call(
            token=token,
            model=request.model,
            body=NOT_READ,
            sent=Sent(request.body, request.content_type),
            client_request_id=client_id(request.request_id),
            bytes_in=len(request.body),
            told=Told(
                options=dict(request.options),
                stream=stream,
                session=request.session[:128],
                idempotency_key=request.idempotency_key[:256],
                bounds=TimeBounds(total_ms=total_ms),
                source=SOURCES.get(request.source, RequestSource.WORKER_BINDING),
            ),
        )


def credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return what the port says that it is, as the files have it. Raises OSError."""

    def load() -> Any:
        tls.load()  # refuses what does not fit together, which grpc would take
        pair = (tls.key.read_bytes(), tls.cert.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair])

    live = Live(load, (tls.cert, tls.key))
    return grpc.dynamic_ssl_server_credentials(
        live.now(),
        live.news,  # type: ignore[arg-type]  # None is for no change
    )


@contextmanager
def holding(plan: Plan) -> Iterator[None]:
    """Let go of what the call holds of its account's limits, however it ends."""
    try:
        yield
    except BaseException as error:
        plan.ended(error)
        raise


def register(server: grpc.aio.Server, *, bindings: Bindings, health: Health) -> None:
    """Add what entry answers to a gRPC server."""
    add_BindingServiceServicer_to_server(bindings, server)
    health.add(server)
    names = (SERVICE, *health.services, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)


async def _tell_ids(request_id: str, request: pb.RunRequest, context: Context) -> None:
    """Say before the model runs by which ids the call can be cancelled; at its end once more.

    A client may hear of a status and of no initial metadata, where both come at once.
    """
    ids = [("x-constellation-request-id", request_id)]
    if own := client_id(request.request_id):
        ids.append(("x-request-id", own))
    context.set_trailing_metadata(tuple(ids))
    await context.send_initial_metadata(ids)


def _tell_model(plan: Plan, context: Context) -> None:
    """Say in the trailers which model has answered, where another name was asked for."""
    if plan.model.name != plan.call.model:
        told = context.trailing_metadata() or ()
        context.set_trailing_metadata((*told, ("model", plan.model.name)))


def _headers(context: Context) -> dict[str, str]:
    """Return what says who calls, and through whom."""
    found = context.invocation_metadata() or ()
    through = [str(value) for name, value in found if name == FORWARDED]
    return {"authorization": _metadata(context, "authorization"), FORWARDED: ",".join(through)}


def _caller(request: pb.RunRequest, context: Context) -> tuple[str, str]:
    """Return the caller's trace: of the message, else of the call, where OpenTelemetry puts it."""
    if request.traceparent:
        return request.traceparent, request.tracestate
    return _metadata(context, TRACEPARENT), _metadata(context, TRACESTATE)


def _metadata(context: Context, name: str) -> str:
    value = dict(context.invocation_metadata() or ()).get(name, "")
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
