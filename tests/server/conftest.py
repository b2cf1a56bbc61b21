"""A server over a scripted model, with one instance in its world, and metrics of their own."""

import pytest
from prometheus_client import CollectorRegistry

from libs.common.events.sinks import MemorySink
from libs.common.world import World
from services.server.metrics import ServerMetrics
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_server, a_world, an_instance


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def world() -> World:
    return a_world(an_instance(0))


@pytest.fixture
def server(world: World, backend: ScriptedBackend, sink: MemorySink) -> InferenceServer:
    return a_server(world, backend, sink)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ServerMetrics:
    return ServerMetrics(registry)
