"""The images of others, as they were pulled or made: each starts, and does what we have it for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.cluster.base_images import FOLDERS, LABEL, ensure
from tests.cluster.containers import Tell, container, docker
from tests.system.harness import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

DATABASE = ("POSTGRES_USER=u", "POSTGRES_PASSWORD=p", "POSTGRES_DB=db")
FLAGS: Mapping[str, tuple[str, ...]] = {
    "postgres:15-bookworm": (
        *(part for each in DATABASE for part in ("-e", each)),
        *("--tmpfs", "/var/run/postgresql", "--tmpfs", "/tmp"),
    ),
    "apache/kafka:4.1.1": ("--read-only=false",),
}
ASKS: Mapping[str, tuple[str, ...]] = {
    "postgres:15-bookworm": ("psql", "postgresql://u:p@127.0.0.1/db", "-c", "select 1"),
    "prom/prometheus:v2.42.0": ("promtool", "query", "instant", "http://127.0.0.1:9090", "up"),
    "valkey/valkey:9.1": ("valkey-cli", "ping"),
    "apache/kafka:4.1.1": ("bash", "-c", "</dev/tcp/127.0.0.1/9092"),
}


@pytest.mark.parametrize("name", ASKS)
def test_a_base_image_runs(engine: None, name: str, told: Tell) -> None:
    how = ensure(name)
    with container(name, flags=FLAGS.get(name, ())) as running:
        until(lambda: running.tried(*ASKS[name]), seconds=60, what=lambda: running.logs[-2000:])

    label = docker("image", "inspect", "-f", f'{{{{index .Config.Labels "{LABEL}"}}}}', name)
    told(f"image {name}: {how}, {f'made of {label}' if label else 'the real one'}")


def test_all_but_those_of_python_are_tried() -> None:
    assert {name for name in FOLDERS if not name.startswith("python:")} == set(ASKS)
