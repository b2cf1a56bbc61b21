"""Every service in a process of its own, in two colos, driven over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from httpx2 import TransportError

from tests.system.harness import (
    CHAT,
    Client,
    Service,
    answers,
    free_ports,
    tritons_of,
    until,
    usage,
)

COLOS = ("ams", "iad")
ONE_EACH = {"ams": 1, "iad": 1}


class Cluster:
    """Scheduler, analytics, entries in ams, and in each colo a node and so many servers."""

    def __init__(
        self, state: Path, servers: Mapping[str, int] = ONE_EACH, *, entries: int = 1
    ) -> None:
        self.state = state
        (control,) = free_ports(1)
        plane = f"127.0.0.1:{control}"
        self.clients: list[Client] = []  # one for each entry
        self.metrics: dict[str, int] = {}
        self.servers: list[str] = []
        told = {"CONSTELLATION_CONTROL_EVENTS": str(state / "events.sock")}
        scheduler = ["scheduler", "--listen", plane, *self._metrics("scheduler")]
        self.services = {
            "scheduler": Service(scheduler, state, told),
            "analytics": Service(["analytics", *self._metrics("analytics")], state),
        }
        for colo in COLOS:
            there = ["--colo", colo, "--control", plane]
            node = ["node", "--name", f"{colo}-node", *there, *self._metrics(f"{colo}-node")]
            self.services[f"{colo}-node"] = Service(node, state)
            for number in range(servers[colo]):
                name = f"{colo}-server" if number == 0 else f"{colo}-server-{number + 1}"
                (listen,) = free_ports(1)
                server = ["server", "--name", name, *there, "--listen", f"127.0.0.1:{listen}"]
                self.services[name] = Service([*server, *self._metrics(name)], state)
                self.servers.append(name)
        for number in range(entries):
            name = "entry" if number == 0 else f"entry-{number + 1}"
            http, grpc = free_ports(2)
            entry = ["entry", "--name", name, "--colo", "ams", "--control", plane]
            entry += ["--http", f"127.0.0.1:{http}", "--grpc", f"127.0.0.1:{grpc}"]
            self.services[name] = Service(entry, state)
            self.metrics[name] = http
            self.clients.append(Client(http))
        self.client = self.clients[0]

    def _metrics(self, name: str) -> list[str]:
        (self.metrics[name],) = free_ports(1)
        return ["--metrics", f"127.0.0.1:{self.metrics[name]}"]

    def targets(self) -> dict[str, list[str]]:
        """Where each service shows its metrics."""
        found: dict[str, list[str]] = {}
        for name, port in self.metrics.items():
            kind = self.services[name].arguments[0]
            found.setdefault(kind, []).append(f"127.0.0.1:{port}")
        return found

    def start(self, *, seconds: float = 60) -> None:
        for service in self.services.values():
            service.start()
        for service in self.services.values():
            service.wait_for(" is up: ", seconds=seconds)
            assert f"{service.arguments[0]} is up" in service.text()
        for each in self.clients:
            until(
                lambda at=each.base: answers(f"{at}/readyz"), seconds=seconds, what="entry is ready"
            )
        until(self.all_ready, seconds=seconds, what="a permit in every colo")

    def all_ready(self) -> bool:
        return all(self.permits(colo) >= 4 for colo in COLOS)

    def permits(self, colo: str) -> float:
        return self.metric(colo, "constellation_server_total_permits", model=CHAT)

    def lasting_tritons(self, colo: str) -> set[int]:
        """The Tritons of a colo's node but for second instances, which come and go by load."""
        found = tritons_of(self.state).items()
        return {pid for pid, each in found if f"{colo}-node" in each and "%2F1/" not in each}

    def metric(self, colo: str, name: str, **labels: str) -> float:
        """Read a metric, summed over a colo's servers; 0 of one that does not answer."""
        names = [each for each in self.servers if each.startswith(colo)]
        return sum(self.metric_of(each, name, **labels) for each in names)

    def counted(self) -> dict[str, dict[str, Any]]:
        """Usage by model, once analytics has stored every event there is."""
        waiting = "constellation_server_events_waiting"

        def is_stored() -> bool:
            return all(self.metric_of(each, waiting) == 0 for each in self.servers)

        until(is_stored, seconds=30, what="events are stored")
        return usage(self.state)

    def metric_of(self, server: str, name: str, **labels: str) -> float:
        """Read a server's metric; 0 while it does not answer."""
        metrics = Client(self.metrics[server])
        try:
            return metrics.metric(name, **labels)
        except TransportError:
            return 0
        finally:
            metrics.close()

    def stop(self) -> None:
        for each in self.clients:
            each.close()
        for service in reversed(self.services.values()):
            assert service.stop() == 0, service.text()
