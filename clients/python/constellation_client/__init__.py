"""Runs models on Constellation, over gRPC: `AI(address, token=...).run(model, inputs)`."""

from constellation_client.aio import AsyncAI, AsyncStream
from constellation_client.answers import Binary, Model
from constellation_client.connection import Tls
from constellation_client.errors import (
    AuthenticationError,
    Busy,
    Cancelled,
    Conflict,
    ConstellationError,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    PermissionDenied,
    Unavailable,
)
from constellation_client.sync import AI, Stream

__all__ = [
    "AI",
    "AsyncAI",
    "AsyncStream",
    "AuthenticationError",
    "Binary",
    "Busy",
    "Cancelled",
    "Conflict",
    "ConstellationError",
    "DeadlineExceeded",
    "InternalError",
    "InvalidRequest",
    "Model",
    "PermissionDenied",
    "Stream",
    "Tls",
    "Unavailable",
]
