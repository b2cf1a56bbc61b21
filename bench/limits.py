"""`constellation bench limits`: accounts ask two entries for twice what they may.

Each account has a rate; some ask both entries alike, some one of them mostly, or alone. First all
use up what a limit lets through at once, and then each should get its rate: neither less,
wherever it asks, nor more, although two entries count.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench import workloads
from bench.arguments import positive, positive_int
from bench.measure import backend_running
from bench.ours import COMMAND, OURS
from bench.processes import Failure, free_ports, prepare, running
from bench.report import number, plain_table, say
from bench.results import Row
from bench.targets import Backend, Started, wait_for_answer
from bench.workloads import TOKEN
from libs.common.clients.control import ControlClient
from libs.common.tokens import token_hash
from libs.common.world_map import Account, Token

MODEL = "@cf/bench/text-embeddings"
TASK = "text-embeddings"
OFF = 0.05
LATE_S = 1.0  # a load that is later measures this machine, and no limits
AT_FIRST = (0.5, 0.9, 1.0)  # part of its calls that an account sends to the first entry
DRAIN_S, SETTLE_S = 30.0, 30.0
OK, REFUSED, LIMITED = 200, 429, 3050


@dataclass(slots=True)
class Tally:
    """What became of one account's calls while it counted."""

    at_first: float
    served: int = 0
    refused: int = 0
    failed: int = 0
    late_s: float = 0.0  # a call that counts was sent so much after its moment


def main(argv: Sequence[str] | None = None) -> int:
    """Ask for too much as the arguments say; 1 if a bound was missed."""
    arguments = parser().parse_args(argv)
    try:
        prepare()
        tallies = measure(arguments)
    except Failure as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    may = arguments.rate * arguments.seconds / 60
    say(plain_table([group_row(part, tallies, may) for part in AT_FIRST]))
    say()
    bounds = verdicts(tallies, may)
    say(plain_table(bounds))
    return int(any(each["verdict"] != "kept" for each in bounds))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="constellation bench limits", description=__doc__.splitlines()[0]
    )
    made.add_argument("--accounts", type=positive_int, default=50)
    made.add_argument("--rate", type=positive_int, default=120, help="per minute and account")
    made.add_argument("--seconds", type=positive, default=60.0)
    made.add_argument("--times", type=positive, default=2.0, help="as much as they may")
    made.add_argument("--seed", type=positive_int, default=1)
    return made


def measure(arguments: argparse.Namespace) -> list[Tally]:
    """Start control, a server and two entries, and ask."""
    with (
        backend_running() as backend,
        tempfile.TemporaryDirectory(prefix="cstb") as folder,
        two_entries(backend, Path(folder)) as addresses,
    ):
        return asyncio.run(_measured(arguments, addresses, f"unix:{folder}/state/control.sock"))


@contextmanager
def two_entries(backend: Backend, folder: Path) -> Iterator[tuple[str, str]]:
    """Run what an entry needs, and two of them."""
    with OURS["split"].started(backend, folder) as started:
        (port,) = free_ports(1)
        second = f"127.0.0.1:{port}"
        state = folder / "state"
        where = ["--config", str(folder / "config"), "--state-dir", str(state)]
        front = ["--name", "second", "--colo", "local", "--http", second, "--grpc", ""]
        command = [*COMMAND, "entry", *where, *front]
        log, env = state / "second.log", {"CONSTELLATION_TOKEN": TOKEN}
        with running(command, log=log, env=env) as process:
            also = Started(address=second, gateway=[process], beside={}, ca="")
            wait_for_answer(also, workloads.embeddings(), seconds=40.0)
            yield started.address, second


async def _measured(
    arguments: argparse.Namespace, addresses: tuple[str, str], control: str
) -> list[Tally]:
    count, per_s = arguments.accounts, arguments.rate / 60
    await _let_in(control, count, arguments.rate)
    tallies = [Tally(AT_FIRST[at % len(AT_FIRST)]) for at in range(count)]
    began = time.monotonic() + DRAIN_S + SETTLE_S
    ended = began + arguments.seconds
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        for at, tally in enumerate(tallies):
            source = _Source(session, addresses, at, tally, random.Random(f"{arguments.seed} {at}"))
            fast = 1.2 * (arguments.rate / DRAIN_S + per_s)  # uses up what is there at once
            group.create_task(source.run(fast, arguments.times * per_s, began, ended))
    return tallies


async def _let_in(control: str, count: int, rate: int) -> None:
    """Make the accounts, each with a token."""
    async with ControlClient(control) as client:
        for at in range(count):
            await client.put(Account(id=account_id(at), requests_per_minute={TASK: rate}))
            await client.put(Token(hash=token_hash(secret(at)), account=account_id(at)))
    await asyncio.sleep(1.0)  # until all entries know them


def account_id(at: int) -> str:
    """Return the id of the account of a number."""
    return f"{at + 1:032x}"


def secret(at: int) -> str:
    """Return its token."""
    return f"limits-{at}"


class _Source:
    """One account's calls, at moments drawn at random."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        addresses: tuple[str, str],
        at: int,
        tally: Tally,
        rng: random.Random,
    ) -> None:
        self._session = session
        path = f"/client/v4/accounts/{account_id(at)}/ai/run/{MODEL}"
        self._urls = [f"http://{address}{path}" for address in addresses]
        self._headers = {"Authorization": f"Bearer {secret(at)}"}
        self._tally = tally
        self._rng = rng
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self, fast: float, rate: float, began: float, ended: float) -> None:
        """Use up what is there at once, at both entries, and then ask for more than comes back."""
        due = time.monotonic()
        while due < ended:
            due += self._rng.expovariate(fast if due < began - SETTLE_S else rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if began <= due < ended:
                self._tally.late_s = max(self._tally.late_s, time.monotonic() - due)
            at_first = self._tally.at_first if due >= began - SETTLE_S else 0.5
            call = asyncio.create_task(self._call(at_first, began <= due < ended))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        await asyncio.gather(*self._calls)

    async def _call(self, at_first: float, counts: bool) -> None:
        url = self._urls[self._rng.random() >= at_first]
        try:
            async with self._session.post(
                url, json={"text": "hi"}, headers=self._headers
            ) as response:
                told = await response.json()
        except (aiohttp.ClientError, TimeoutError):
            self._tally.failed += counts
            return
        if response.status == OK:
            self._tally.served += counts
        elif response.status == REFUSED and told["errors"][0]["code"] == LIMITED:
            self._tally.refused += counts
        else:
            self._tally.failed += counts


def group_row(at_first: float, tallies: Sequence[Tally], may: float) -> Row:
    """Return what those got who ask the first entry for that part of their calls."""
    of = [each for each in tallies if each.at_first == at_first]
    served = [each.served for each in of]
    return {
        "at first entry": f"{at_first:.0%}",
        "accounts": str(len(of)),
        "may": number(may),
        "served, least": str(min(served, default=0)),
        "served, mean": number(sum(served) / max(1, len(of))),
        "served, most": str(max(served, default=0)),
        "refused, mean": number(sum(each.refused for each in of) / max(1, len(of))),
    }


def verdicts(tallies: Sequence[Tally], may: float) -> list[Row]:
    """Return each bound with what was measured."""
    shares = [each.served / may - 1 for each in tallies]
    over, under = max(0.0, max(shares)), max(0.0, -min(shares))
    total = sum(each.served for each in tallies) / (may * len(tallies)) - 1
    failed = sum(each.failed for each in tallies)
    measured: Mapping[str, tuple[float, float]] = {
        "overshoot of one account, at most": (over, OFF),
        "shortfall of one account, at most": (under, OFF),
        "overshoot of all together, at most": (max(0.0, total), OFF),
        "failed otherwise": (failed, 0),
        "s that a call was sent late, at most": (max(each.late_s for each in tallies), LATE_S),
    }
    return [
        {
            "bound": what,
            "measured": number(value),
            "must": number(bound),
            "verdict": "kept" if value <= bound + 1e-9 else "MISSED",
        }
        for what, (value, bound) in measured.items()
    ]


if __name__ == "__main__":
    raise SystemExit(main())
