"""`constellation bench overload`: three accounts ask for five times as much as there is.

Their weights are 1, 1 and 2; the first floods, the second has requests of cost 4. Told are the
goodput, each account's share and how long its requests waited, and how soon the others heard no.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.arguments import positive, positive_int
from bench.measure import backend_running
from bench.ours import OURS
from bench.overload_load import Offer, Tally, offered
from bench.processes import Failure, prepare
from bench.report import number, plain_table, say
from bench.results import Row
from bench.summary import percentile
from libs.common.clients.control import ControlClient
from libs.common.tokens import token_hash
from libs.common.world_map import Account, Token

PERMITS, QUEUE, SERVICE_S = 32, 64, 0.8  # as in bench/catalog/models/text-generation-limited.yaml
CAPACITY = PERMITS / SERVICE_S  # permits per second
GOODPUT, SHARE_OFF, LONGER, REJECTED_S = 0.95, 0.05, 1.1, 0.010
OFFERS: Mapping[str, Offer] = {
    "flood": Offer(account="1" * 32, weight=1, share=0.60),
    "large": Offer(account="2" * 32, weight=1, share=0.16, cost=4),
    "double": Offer(account="3" * 32, weight=2, share=0.24),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Overload as the arguments say; 1 if a bound was missed."""
    arguments = parser().parse_args(argv)
    try:
        prepare()
        tallies = measure(arguments)
    except Failure as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    rows = [account_row(name, tallies, arguments.seconds) for name in OFFERS]
    bounds = verdicts(tallies, arguments.seconds)
    say(plain_table(rows))
    say()
    say(plain_table(bounds))
    return int(any(each["verdict"] != "kept" for each in bounds))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="constellation bench overload", description=__doc__.splitlines()[0]
    )
    made.add_argument("--seconds", type=positive, default=60.0)
    made.add_argument("--warm-seconds", type=positive, default=5.0, help="before what counts")
    made.add_argument("--times", type=positive, default=5.0, help="as much as there is")
    made.add_argument("--seed", type=positive_int, default=1)
    return made


def measure(arguments: argparse.Namespace) -> dict[str, Tally]:
    """Start an edge over a paced backend, and ask too much of it."""
    with (
        backend_running() as backend,
        tempfile.TemporaryDirectory(prefix="cstb") as folder,
        OURS["fused"].started(backend, Path(folder)) as started,
    ):
        asyncio.run(_let_in(f"unix:{folder}/state/control.sock"))
        load = offered(
            started.address,
            OFFERS,
            per_s=arguments.times * CAPACITY,
            service_s=SERVICE_S,
            seconds=arguments.seconds,
            warm_s=arguments.warm_seconds,
            seed=arguments.seed,
        )
        return asyncio.run(load)


async def _let_in(control: str) -> None:
    """Make the accounts, each with a token."""
    async with ControlClient(control) as client:
        for offer in OFFERS.values():
            await client.put(Account(id=offer.account))
            await client.put(Token(hash=token_hash(offer.token), account=offer.account))


def account_row(name: str, tallies: Mapping[str, Tally], seconds: float) -> Row:
    """Return what one account got."""
    tally, offer = tallies[name], OFFERS[name]
    total = sum(each.permits for each in tallies.values())
    return {
        "account": name,
        "weight": str(offer.weight),
        "cost": str(offer.cost),
        "offered/s": tally.asked * offer.cost / seconds,
        "served/s": tally.permits / seconds,
        "share": tally.permits / total if total else None,
        "due": due(name),
        "wait p50 s": percentile(tally.waits, 0.5),
        "wait p99 s": percentile(tally.waits, 0.99),
        "bound s": longest_wait(name, tallies, seconds),
        "refused": str(len(tally.rejections)),
        "refused p50 ms": _ms(percentile(tally.rejections, 0.5)),
    }


def due(name: str) -> float:
    """Return an account's share by weight."""
    return OFFERS[name].weight / sum(each.weight for each in OFFERS.values())


def longest_wait(name: str, tallies: Mapping[str, Tally], seconds: float) -> float:
    """Return how long an account's part of the queue takes at the rate that it was served."""
    return LONGER * QUEUE * due(name) / max(1e-9, tallies[name].permits / seconds)


def verdicts(tallies: Mapping[str, Tally], seconds: float) -> list[Row]:
    """Return each bound with what was measured."""
    total = sum(each.permits for each in tallies.values())
    goodput = total / seconds / CAPACITY
    rejected = percentile([took for each in tallies.values() for took in each.rejections], 0.5)
    failed = sum(each.failed for each in tallies.values())
    found = [
        _verdict("goodput / capacity, at least", goodput, GOODPUT, goodput >= GOODPUT),
        _verdict("median rejection ms", _ms(rejected), REJECTED_S * 1000, _below(rejected)),
        _verdict("failed otherwise", failed, 0, not failed),
    ]
    for name, tally in tallies.items():
        off = abs(tally.permits / max(1, total) / due(name) - 1)
        wait = percentile(tally.waits, 0.99)
        bound = longest_wait(name, tallies, seconds)
        found.append(_verdict(f"{name}: share off by", off, SHARE_OFF, off <= SHARE_OFF))
        is_kept = wait is not None and wait <= bound
        found.append(_verdict(f"{name}: wait p99 s", wait, bound, is_kept))
    return found


def _verdict(what: str, value: float | None, bound: float, is_kept: bool) -> Row:
    return {
        "bound": what,
        "measured": number(value),
        "must": number(bound),
        "verdict": "kept" if is_kept else "MISSED",
    }


def _below(seconds: float | None) -> bool:
    return seconds is not None and seconds < REJECTED_S


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


if __name__ == "__main__":
    raise SystemExit(main())
