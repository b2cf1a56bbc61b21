"""`constellation bench scaling`: a load that doubles and halves, under `constellation up`.

Real instances in real Tritons start and stop under it. No call may fail; told are those that
waited, and drawn is what the scheduler has kept of its decisions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.arguments import positive, positive_int
from bench.ours import COMMAND
from bench.processes import Failure, free_ports, prepare, running, until
from bench.report import plain_table, say
from bench.results import Row
from bench.scaling_chart import draw
from bench.scaling_load import MODEL, TOKEN_MS, TOKENS, Call, calls
from bench.workloads import TOKEN
from libs.common.clients.control import ControlClient
from libs.common.explanation import Explanation, Question

ROOT = Path(__file__).resolve().parents[1]
BOOT_S = 120.0
PERMITS, MOST = 2, 10  # of an instance, and instances
STEPS = (1, 2, 4, 2, 1)  # times the least load
LATE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run found; `began` is in seconds since 1970."""

    began: float
    step_s: float
    loads: Sequence[float]
    calls: Sequence[Call]
    told: Explanation


def main(argv: Sequence[str] | None = None) -> int:
    """Load as the arguments say; 1 if a call failed."""
    arguments = parser().parse_args(argv)
    try:
        prepare()
        found = asyncio.run(scale(arguments))
    except Failure as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return told(found, arguments)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="constellation bench scaling", description=__doc__.splitlines()[0]
    )
    made.add_argument("--minutes", type=positive, default=5.0, help="of each of the five steps")
    made.add_argument("--load", type=positive, default=2.0, help="calls in flight at the least")
    made.add_argument("--seed", type=positive_int, default=1)
    made.add_argument("--json", type=Path, help="file for all calls and decisions")
    made.add_argument("--png", type=Path, help="file for the chart")
    return made


async def scale(arguments: argparse.Namespace) -> Found:
    """Start `up`, load it step by step, and ask it why."""
    loads = [step * arguments.load for step in STEPS]
    step_s = 60 * arguments.minutes
    async with up() as (base, state):
        began = time.time()
        made = await calls(base, loads=loads, step_s=step_s, seed=arguments.seed)
        async with ControlClient(f"unix:{state}/control.sock") as control:
            told = await control.explain(Question(model=MODEL, count=2000))
    return Found(began=began, step_s=step_s, loads=loads, calls=made, told=told)


@asynccontextmanager
async def up() -> AsyncIterator[tuple[str, Path]]:
    """Run `constellation up` with the text model alone; yield its address and state folder."""
    http, grpc = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="cstb") as name:
        folder = Path(name)
        configuration(folder)
        ports = ["--http-port", str(http), "--grpc-port", str(grpc)]
        folders = ["--state-dir", str(folder / "state"), "--config", str(folder / "config")]
        command = [*COMMAND, "up", *ports, *folders]
        with running(command, log=folder / "up.log", env={"CONSTELLATION_TOKEN": TOKEN}) as process:

            def is_up() -> bool:
                process.check()
                return "Constellation is up" in process.said(100_000)

            await asyncio.to_thread(until, is_up, seconds=BOOT_S, what="constellation up")
            yield f"http://127.0.0.1:{http}", folder / "state"


def configuration(folder: Path) -> None:
    """Write the settings and the text model's file, with room for some instances.

    Its tokens are slow, so that permits bound it, and not the machine.
    """
    models = folder / "config" / "models"
    models.mkdir(parents=True)
    shutil.copy(ROOT / "config" / "constellation.yaml", folder / "config")
    (folder / ".triton").symlink_to(ROOT / ".triton")
    served = folder / "models" / "text_generation"
    shutil.copytree(ROOT / "models" / "text_generation", served)
    paced = (served / "config.pbtxt").read_text("utf-8")
    paced = paced.replace('{ string_value: "20" }', f'{{ string_value: "{TOKEN_MS}" }}')
    (served / "config.pbtxt").write_text(paced, "utf-8")
    text = (ROOT / "config" / "models" / "text-generation.yaml").read_text("utf-8")
    text = text.replace("per_instance: 4", f"per_instance: {PERMITS}")
    text = text.replace("{min: 1, max: 2,", f"{{min: 1, max: {MOST},")
    text = text.replace("cpus: 0.25", "cpus: 0.1")
    (models / "text-generation.yaml").write_text(text, "utf-8")


def told(found: Found, arguments: argparse.Namespace) -> int:
    """Print what each step came to, write what is asked for, and return the exit code."""
    rows = [row(found, number) for number in range(len(found.loads))]
    say(plain_table(rows))
    failed = [call for call in found.calls if call.status != 200]
    late = sum(call.first_s >= LATE_S for call in found.calls)
    say()
    say(f"{len(found.calls)} calls, {len(failed)} failed, {late} waited a second or more")
    decisions = found.told.decisions
    say(f"{len(decisions)} decisions were kept; the last: {decisions[0].reason}")
    if arguments.json:
        document = {**asdict(found), "tokens": TOKENS}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if arguments.png:
        draw(found, arguments.png, permits=PERMITS, late_s=LATE_S)
    return int(bool(failed))


def row(found: Found, number: int) -> Row:
    """Return what one step came to."""
    begin, end = number * found.step_s, (number + 1) * found.step_s
    mine = [call for call in found.calls if begin <= call.at_s < end]
    decisions = [
        each for each in found.told.decisions if begin <= each.at_ms / 1000 - found.began < end
    ]
    instances = [each.running for each in decisions]
    late = sum(call.first_s >= LATE_S for call in mine)
    return {
        "in flight": found.loads[number],
        "calls": str(len(mine)),
        "failed": str(sum(call.status != 200 for call in mine)),
        "late %": 100 * late / len(mine) if mine else None,
        "longest wait s": max((call.first_s for call in mine), default=None),
        "instances": f"{min(instances, default=0)} to {max(instances, default=0)}",
        "decisions": str(len(decisions)),
    }


if __name__ == "__main__":
    raise SystemExit(main())
