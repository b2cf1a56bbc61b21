"""gRPC over HTTP/2 in microseconds: unary and server-streaming calls, on asyncio's protocols.

Compatible on the wire with every gRPC; carries bytes and knows no protobuf.
"""

from libs.lean.calls import ClientStream
from libs.lean.channel import Channel
from libs.lean.limits import Limits
from libs.lean.method import Method
from libs.lean.server import Server
from libs.lean.server_call import Handler, ServerCall
from libs.lean.status import RpcError, Status
from libs.lean.tls import client_context, server_context

__all__ = [
    "Channel",
    "ClientStream",
    "Handler",
    "Limits",
    "Method",
    "RpcError",
    "Server",
    "ServerCall",
    "Status",
    "client_context",
    "server_context",
]
