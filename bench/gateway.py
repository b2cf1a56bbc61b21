"""`constellation bench gateway`: what this gateway costs, beside others that do the same work."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import features, large
from bench.arguments import names, positive, positive_int
from bench.chart import draw
from bench.machine import machine
from bench.measure import MEASURES, Settings, backend_running, lasting
from bench.ours import OURS
from bench.peers import PEERS
from bench.processes import Failure, NotThere, prepare
from bench.report import plain_table, say, verdict_table, warnings, workload_table
from bench.results import Row, results
from bench.targets import Backend, Target
from bench.verdict import verdicts
from bench.workloads import NAMES as WORKLOADS
from bench.workloads import TOKENS

TARGETS: Mapping[str, Target] = {**OURS, **PEERS}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the arguments name; 1 if something could not be measured."""
    arguments = parser().parse_args(argv)
    if arguments.list:
        say(listing())
        return 0
    try:
        prepare()
        return Run(arguments).run()
    except NotThere as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="constellation bench gateway", description=__doc__)
    peers = "comma-separated names, `all`, `none`; by default the usual proxies"
    made.add_argument("--peers", type=peer_names, default="", help=peers)
    made.add_argument("--targets", type=names(OURS), default=",".join(OURS), help="of ours")
    made.add_argument("--workloads", type=names(WORKLOADS), default=",".join(WORKLOADS))
    made.add_argument("--rounds", type=positive_int, default=3)
    made.add_argument("--seconds", type=positive, default=3.0, help="of one measurement")
    made.add_argument("--tokens", type=positive_int, default=TOKENS, help=TOKENS_HELP)
    made.add_argument("--json", type=Path, help="file for all numbers")
    made.add_argument("--png", type=Path, help="file for a chart")
    made.add_argument("--large", action="store_true", help="large payloads as well")
    made.add_argument("--features", action="store_true", help="the price of each feature as well")
    made.add_argument("--list", action="store_true", help="say what can be measured, and end")
    return made


TOKENS_HELP = "of one coalesced stream: what a stream costs once is shared by so many"


def peer_names(text: str) -> list[str]:
    """Return the peers that are meant."""
    if not text:
        return [peer.name for peer in PEERS.values() if peer.is_usual]
    if text in ("all", "none"):
        return list(PEERS) if text == "all" else []
    return names(PEERS)(text)


def listing() -> str:
    """Return all targets, with what they do."""
    lines = [f"{each.name:16} {each.about}" for each in OURS.values()]
    for peer in PEERS.values():
        state = "installed" if peer.is_installed() else "installed on demand"
        lines.append(f"{peer.name:16} {peer.about} ({state})")
    return "\n".join(lines)


class Run:
    """One run of the benchmark, and what has been found so far."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._settings = Settings(
            seconds=arguments.seconds, rounds=arguments.rounds, tokens=arguments.tokens
        )
        self._rows: list[Row] = []
        self._failures: list[dict[str, str]] = []
        self._more: dict[str, list[Row]] = {"large": [], "features": []}

    def run(self) -> int:
        """Measure everything in interleaved rounds, and tell it."""
        targets = self._there([*self._arguments.targets, *self._arguments.peers])
        self._machine = machine(targets)
        for at in range(self._settings.rounds):
            turn = at % max(len(targets), 1)
            for target in [*targets[turn:], *targets[:turn]]:
                self._measure(at, target)
            self._write()
        self._extras()
        self._tell()
        self._write()
        return 1 if self._failures else 0

    def _there(self, names: Sequence[str]) -> list[Target]:
        """Install what is missing; what cannot be had is told, and left out."""
        there = []
        for name in names:
            try:
                TARGETS[name].install()
                there.append(TARGETS[name])
            except NotThere as error:
                say(f"not measured: {name}: {error}")
        return there

    def _measure(self, at: int, target: Target) -> None:
        """Measure all workloads of a target that is started for this round alone."""
        try:
            with (
                backend_running() as backend,
                tempfile.TemporaryDirectory(prefix="cstb") as folder,
                target.started(backend, Path(folder)) as started,
            ):
                for workload in self._arguments.workloads:
                    self._workload(at, target, workload, started, backend)
        except (Failure, OSError) as error:
            self._failed(target.name, "", error)

    def _workload(
        self, at: int, target: Target, workload: str, started: Any, backend: Backend
    ) -> None:
        ask = target.ask(workload, lasting(self._settings), self._settings.tokens)
        if ask is None:
            return
        try:
            row = MEASURES[workload](started, backend, ask, self._settings)
        except Failure as error:
            self._failed(target.name, workload, error)
            return
        self._rows.append({"round": at, "target": target.name, "workload": workload, **row})
        cost = f"{row['cpu_us']:10.2f} us of CPU"
        say(f"round {at + 1}/{self._settings.rounds}  {target.name:16} {workload:17}{cost}")

    def _failed(self, target: str, workload: str, error: Exception) -> None:
        self._failures.append({"target": target, "workload": workload, "error": str(error)})
        say(f"FAILED: {target} {workload}: {error}")

    def _extras(self) -> None:
        for wanted, name, measure in (
            (self._arguments.large, "large", large.measure),
            (self._arguments.features, "features", features.measure),
        ):
            if wanted:
                try:
                    self._more[name] = measure(self._settings)
                except (Failure, OSError) as error:
                    self._failed(name, "", error)

    def _tell(self) -> None:
        found = results(self._rows)
        for workload in self._arguments.workloads:
            if any(row["workload"] == workload for row in found):
                say(f"\n{workload_table(workload, found)}")
        if found:
            say(f"\n{verdict_table(verdicts(self._rows))}")
        for line in warnings(found):
            say(f"note: {line}")
        self._tell_more()
        if self._arguments.png and found:
            about = self._machine
            subtitle = f"{about['cpu']}, {about['cores']} cores, kernel {about['kernel']}"
            try:
                draw(found, self._arguments.png, subtitle=subtitle)
            except NotThere as error:
                say(f"bench: {error}")
        for failure in self._failures:
            say(f"FAILED: {failure['target']} {failure['workload']}: {failure['error']}")

    def _tell_more(self) -> None:
        for name, rows in self._more.items():
            if rows:
                say(f"\n{name}\n\n{plain_table(rows)}")

    def _write(self) -> None:
        if not self._arguments.json:
            return
        document = {
            "machine": self._machine,
            "settings": asdict(self._settings) | {"peers": self._arguments.peers},
            "results": results(self._rows),
            "verdicts": verdicts(self._rows),
            **self._more,
            "failures": self._failures,
            "rounds": self._rows,
        }
        self._arguments.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
