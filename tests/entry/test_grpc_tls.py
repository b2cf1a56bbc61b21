"""The TLS of entry's gRPC port: a renewed certificate serves the next connection."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from libs.common.rpc import grpc_server
from libs.http1 import TlsFiles
from services.entry.fronts.grpc import SERVICE, credentials
from services.entry.fronts.health import Health
from tests.certificates import certified

pytestmark = pytest.mark.timeout(20)


async def ask(address: str, authority: bytes) -> int:
    async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority)) as channel:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=3.0)
    return int(answer.status)


async def test_a_renewed_certificate_serves_the_next_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("libs.live_tls.CHECK_S", 0.0)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    files, renewed = certified(tmp_path / "old"), certified(tmp_path / "new")
    old, health = files.ca.read_bytes(), Health()
    creds = credentials(TlsFiles(cert=files.cert, key=files.key))
    async with grpc_server("localhost:0", add=health.add, credentials=creds) as (address,):
        await health.serves(SERVICE)
        assert await ask(address, old) == health_pb2.HealthCheckResponse.SERVING

        shutil.copy(renewed.key, files.key)
        assert await ask(address, old) == health_pb2.HealthCheckResponse.SERVING
        assert "the old ones serve on" in caplog.text

        shutil.copy(renewed.cert, files.cert)
        assert await ask(address, renewed.ca.read_bytes()) == health_pb2.HealthCheckResponse.SERVING
