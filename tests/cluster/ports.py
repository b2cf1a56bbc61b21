"""Which ports are open: listened on in a container, led in from the machine, or reached."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.cluster.compose import Project
from tests.cluster.containers import docker

LISTENS: Final = "0A"  # as /proc/net/tcp has it
Address = tuple[str, int]
SCAN: Final = """
import asyncio, json, sys

async def is_open(many, host, port):
    async with many:
        try:
            async with asyncio.timeout(float(sys.argv[1])):
                _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        writer.close()
        return True

async def main():
    many = asyncio.Semaphore(400)
    targets = json.loads(sys.argv[2])
    found = await asyncio.gather(*(is_open(many, *each) for each in targets))
    print(json.dumps([each for each, is_so in zip(targets, found) if is_so]))

asyncio.run(main())
"""


def listening(full: Project, service: str) -> set[int]:
    """Return the ports that processes of a container listen on, but for its loopback's."""
    tables = full[service].execute("cat", "/proc/net/tcp", "/proc/net/tcp6")
    return {int(port, 16) for host, port in _sockets(tables) if not host.endswith("7F")}


def listening_here() -> set[int]:
    """Return the ports that processes of this machine listen on, containers left out."""
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return {int(port, 16) for _, port in _sockets(tables)}


def _sockets(tables: str) -> list[list[str]]:
    rows = [line.split() for line in tables.splitlines()]
    return [row[1].split(":") for row in rows if len(row) > 3 and row[3] == LISTENS]


def published(full: Project) -> set[Address]:
    """Return where the engine leads from this machine into a container of the cluster."""
    found: set[Address] = set()
    for service in full.services():
        ports = full[service].facts["NetworkSettings"]["Ports"]
        for each in (binding for bindings in ports.values() for binding in bindings or ()):
            found.add((each["HostIp"], int(each["HostPort"])))
    return found


def open_from(
    image: str, network: str, targets: Iterable[Address], *, wait_s: float
) -> set[Address]:
    """Return those that a container on a network gets a connection to."""
    asked = (image, "-c", SCAN, str(wait_s), json.dumps(sorted(targets)))
    said = docker("run", "--rm", "--network", network, "--entrypoint", "python3", *asked)
    return {(host, port) for host, port in json.loads(said)}


def open_here(host: str, ports: Iterable[int]) -> set[int]:
    """Return which ports of an address of this machine take a connection from it."""

    def is_open(port: int) -> bool:
        with socket.socket() as trial:
            trial.settimeout(1)
            has_answer = trial.connect_ex((host, port)) == 0
            return has_answer and trial.getsockname() != trial.getpeername()  # not with itself

    wanted = list(ports)
    with ThreadPoolExecutor(32) as pool:
        return {
            port for port, is_so in zip(wanted, pool.map(is_open, wanted), strict=True) if is_so
        }


def address_here() -> str:
    """Return the address of this machine that others see."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.connect(("192.0.2.1", 9))  # nothing is sent
        return str(trial.getsockname()[0])
