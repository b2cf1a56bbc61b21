"""What docker-compose.yml promises of every container."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.deploy.queries import ROOT

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "docker-compose.yml").read_text("utf-8")
)["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_has_limits_and_gains_no_privileges(name: str) -> None:
    service = SERVICES[name]

    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert "no-new-privileges:true" in service["security_opt"]
    if name != "clickhouse":  # which nobody has run here without them
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", [name for name in SERVICES if "entry" in name])
def test_an_entrys_health_is_asked_where_https_changes_nothing(name: str) -> None:
    asked = SERVICES[name]["environment"].get("CONSTELLATION_HEALTH", "of the image")

    assert asked == "of the image"
    image = (ROOT / "Dockerfile").read_text("utf-8").partition(" AS triton")[0]
    assert "CONSTELLATION_HEALTH=http://127.0.0.1:9100/readyz" in image
    assert "CONSTELLATION_METRICS=0.0.0.0:9100" in image
