"""The project's own targets: real commands of it, with control and analytics beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from bench import workloads
from bench.processes import Process, free_ports, running, until
from bench.targets import Backend, Started, wait_for_answer
from bench.workloads import TOKEN, Ask

CATALOG = Path(__file__).parent / "catalog"
BOOT_S = 40.0
COMMAND = (sys.executable, "-m", "services.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Implements `bench.targets.Target` by the project's commands."""

    name: str
    about: str
    is_fused: bool = False
    workers: int = 1
    analytics: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)  # more of the environment
    trace_share: float | None = None  # of requests, whose spans go to the backend; None: no tracing
    certificate: tuple[str, str, str] | None = None  # files: of the server, its key, the authority

    def install(self) -> None:
        """Do nothing: it is here."""

    def version(self) -> str:
        """Return the project's version."""
        return metadata.version("constellation-inference")

    def ask(self, workload: str, seconds: float, tokens: int) -> Ask | None:
        """Return what everyone is asked."""
        return workloads.ask(workload, seconds=seconds, tokens=tokens)

    @contextmanager
    def started(self, backend: Backend, folder: Path) -> Iterator[Started]:
        """Run control, analytics and the gateway while inside."""
        config, state = folder / "config", folder / "state"
        write_catalog(config, backend.grpc)
        state.mkdir(exist_ok=True)
        with ExitStack() as stack:
            settings = {**self.settings, **self._tracing(backend)}
            run = _Runner(stack, config=config, state=state, settings=settings)
            (port,) = free_ports(1)
            address = f"127.0.0.1:{port}"
            beside: dict[str, list[Process]] = {}
            beside["control"] = [run("scheduler", "--listen", "")]
            if self.analytics:
                beside["collector"] = [run("analytics")]
            gateway = self._gateway(run, address, state)
            ca = self.certificate[2] if self.certificate else ""
            started = Started(
                address=address, gateway=gateway, beside=beside, ca=ca, entries=self.workers
            )
            wait_for_answer(started, workloads.embeddings(), seconds=BOOT_S)
            yield started

    def _tracing(self, backend: Backend) -> Mapping[str, str]:
        if self.trace_share is None:
            return {}
        address = f"http://{backend.http}"
        return {
            "CONSTELLATION_ENTRY_OTLP": address,
            "CONSTELLATION_ENTRY_TRACE_SHARE": str(self.trace_share),
            "CONSTELLATION_SERVER_OTLP": address,
        }

    def _gateway(self, run: _Runner, address: str, state: Path) -> list[Process]:
        tls = []
        if self.certificate:
            tls = ["--tls-cert", self.certificate[0], "--tls-key", self.certificate[1]]
        front = ["--name", "bench", "--colo", "local", "--http", address, "--grpc", "", *tls]
        if self.is_fused:
            return [run("edge", *front)]
        place = ["--name", "bench-server", "--colo", "local"]
        server = run("server", *place, "--listen", f"unix:{state}/server.sock")
        workers = ["--workers", str(self.workers)] if self.workers > 1 else []
        entry = run("entry", *front, *workers)
        if workers:  # the parent says that it is up before its workers do
            until(
                lambda: entry.said(100_000).count("is up") > self.workers,
                seconds=BOOT_S,
                what=f"{self.workers} workers are up",
            )
        return [server, entry]


class _Runner:
    """Starts commands on a stack, each with its log."""

    def __init__(
        self, stack: ExitStack, *, config: Path, state: Path, settings: Mapping[str, str]
    ) -> None:
        self._stack = stack
        self._common = ("--config", str(config), "--state-dir", str(state))
        self._state = state
        self._environment = {"CONSTELLATION_TOKEN": TOKEN, **settings}

    def __call__(self, name: str, *flags: str) -> Process:
        """Start one service and wait until it says that it is up."""
        log = self._state / f"{name}.log"
        command = [*COMMAND, name, *self._common, *flags]
        process = self._stack.enter_context(running(command, log=log, env=self._environment))

        def is_up() -> bool:
            process.check()
            return "is up" in process.said(100_000)

        until(is_up, seconds=BOOT_S, what=f"{name} is up")
        return process


def write_catalog(folder: Path, backend: str) -> None:
    """Copy the benchmark's catalog, with the backend's address in it."""
    for source in CATALOG.rglob("*"):
        if source.is_file():
            target = folder / source.relative_to(CATALOG)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes().replace(b"@BACKEND@", backend.encode()))


FULL = "KServe v2 over gRPC; all that the gateway does: see bench/README.md"
OURS: Mapping[str, Ours] = {
    each.name: each
    for each in (
        Ours(name="fused", about=f"one process; {FULL}", is_fused=True),
        Ours(name="split", about=f"entry and server, a Unix socket between; {FULL}"),
        Ours(name="split_2_entries", about=f"two entry workers, one server; {FULL}", workers=2),
    )
}
