"""Checks of this machine: its state folder, and what a start would need."""

from __future__ import annotations

from collections.abc import Iterator

from services.doctor.facts import Facts, Finding


def secrets(facts: Facts) -> Iterator[Finding]:
    """Others may read what opens accounts."""
    machine = facts.machine
    for path, mode in machine.loose.items() if machine is not None else ():
        wanted = "700" if machine is not None and path == machine.state_dir else "600"
        yield Finding(
            what=f"others on this machine may read {path}: its mode is {mode:o}",
            why="who reads it can call as that account, or look into what is kept",
            mend=f"chmod {wanted} {path}",
            is_grave=wanted == "600",  # in an open folder the secrets may still be closed
        )


def ports(facts: Facts) -> Iterator[Finding]:
    """What `up` would listen on is taken."""
    if facts.unreachable and facts.machine is not None and not facts.machine.holders:
        for port in facts.machine.taken_ports:
            yield Finding(
                what=f"port {port} is in use by another program",
                why="`constellation up` could not listen on it",
                mend=f"ss -ltnp 'sport = :{port}' shows whose it is; or other ports:"
                " constellation up --http-port 8090 --grpc-port 8091",
            )


def configuration(facts: Facts) -> Iterator[Finding]:
    """The settings or the catalog have mistakes, so that nothing could start."""
    if facts.unreachable and facts.machine is not None and facts.machine.mistakes:
        yield Finding(
            what=f"the configuration has a mistake: {facts.machine.mistakes}",
            why="nothing starts with it, but for what was good before",
            mend="constellation config check",
        )


def triton(facts: Facts) -> Iterator[Finding]:
    """Triton is not set up, and models need it."""
    if facts.machine is not None and facts.machine.lacks_triton and facts.unreachable:
        yield Finding(
            what="Triton is not set up here",
            why="the catalog's models need it, unless others run them",
            mend="make setup",
        )
