"""The backend's process: a model that costs nothing, over gRPC and over HTTP.

Prints where it listens as one line of JSON, and runs until its input closes, so that it
never outlives who started it.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from bench.backend_grpc import handlers
from bench.backend_http import HttpBackend
from bench.ticker import Ticker
from libs.lean import Limits, Server

LIMITS = Limits(max_streams=16_384, send_buffer=1 << 20)  # it is never the bound here


async def serve() -> None:
    """Listen on two free ports until the input ends."""
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop)
    server = Server(handlers(ticker), limits=LIMITS)
    grpc_address = await server.listen("127.0.0.1:0")
    http = await loop.create_server(lambda: HttpBackend(ticker), "127.0.0.1", 0, backlog=4096)
    host, port = http.sockets[0].getsockname()[:2]
    sys.stdout.write(json.dumps({"grpc": grpc_address, "http": f"{host}:{port}"}) + "\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    http.close()
    await server.close(drain_s=0)
    ticker.close()


def main() -> None:
    """Run until the input ends."""
    uvloop.run(serve())


if __name__ == "__main__":
    main()
