"""Errors of the public gRPC port: their trailers, and the same as google.rpc's details."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from libs.common.errors import Internal, RequestError
from libs.common.rpc import Context
from libs.common.statuses import message_of, trailers_of
from services.entry.fronts.bodies import wait_ms

DETAILS: Final = "grpc-status-details-bin"
DOMAIN: Final = "constellation"
LONGEST: Final = 200  # characters of a text that the message has already
log = logging.getLogger(__name__)


@asynccontextmanager
async def told(context: Context) -> AsyncIterator[None]:
    """Inside it, a RequestError becomes the call's status, and a bug INTERNAL without details."""
    try:
        yield
    except RequestError as error:
        await _abort(context, error)
    except grpc.aio.AbortError:
        raise
    except Exception:
        log.exception("a call failed for a reason of ours")
        await _abort(context, Internal("internal error"))


async def _abort(context: Context, error: RequestError) -> None:
    # a wait means "try again then" to clients over gRPC, which have no word for "do not"
    error.retry_after_ms = 0 if error.should_retry is False else wait_ms(error)
    trailers: list[tuple[str, str | bytes]] = [*(context.trailing_metadata() or ())]
    trailers += trailers_of(error)
    trailers.append((DETAILS, details_of(error)))
    await context.abort(grpc.StatusCode[error.status], message_of(error), tuple(trailers))


def details_of(error: RequestError) -> bytes:
    """Return the google.rpc.Status of an error, with its reason, wait and field."""
    reason = error_details_pb2.ErrorInfo(
        reason=error.reason.upper(), domain=DOMAIN, metadata={"code": str(error.code)}
    )
    found: list[Message] = [reason]
    if error.retry_after_ms:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        found.append(retry)
    text = str(error)[:LONGEST]
    if error.pointer:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.pointer[:LONGEST], description=text)
        found.append(bad)
    code: int = grpc.StatusCode[error.status].value[0]
    details: bytes = status_pb2.Status(
        code=code, message=text, details=[_packed(each) for each in found]
    ).SerializeToString()
    return details


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
