"""gRPC's health protocol, as load balancers and orchestrators ask it."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health, health_pb2  # type: ignore[import-untyped]
from grpc_health.v1.health import aio  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2_grpc import (  # type: ignore[import-untyped]
    add_HealthServicer_to_server,
)


class Health:
    """Serving from the start until entry leaves."""

    def __init__(self) -> None:
        self._servicer = aio.HealthServicer()

    @property
    def services(self) -> tuple[str, ...]:
        """The names of what this adds, for reflection."""
        return (health.SERVICE_NAME,)

    def add(self, server: grpc.aio.Server) -> None:
        """Register the health service."""
        add_HealthServicer_to_server(self._servicer, server)

    async def serves(self, service: str) -> None:
        """Answer for one service, too, not for the whole server alone."""
        await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def leave(self) -> None:
        """Say from now on that nothing is served."""
        await self._servicer.enter_graceful_shutdown()
