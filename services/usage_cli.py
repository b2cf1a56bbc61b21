"""The flags of `constellation usage`, and what it asks the running service."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Final

from libs.common.errors import BadInput, Unavailable
from libs.common.usage import UsageGroup, UsageQuery
from libs.common.usage_texts import as_csv, groups_of
from services.moments import EXAMPLES, read_moment
from services.usage_table import as_json, as_table

if TYPE_CHECKING:  # it is most of what this command loads, and of no use to the others
    from libs.common.clients.usage import UsageClient

EVERY_S: Final = 2.0
CLEAR: Final = "\x1b[H\x1b[2J"  # of a terminal, from its first line on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--json", action="store_true", help="a list of objects")
    way.add_argument("--csv", action="store_true", help="comma-separated values")
    way.add_argument(
        "--watch",
        nargs="?",
        type=read_seconds,
        const=EVERY_S,
        metavar="SECONDS",
        help=f"show it again and again, every {EVERY_S:g} s unless told; Ctrl-C ends it",
    )
    by = "model (unless told), hour, minute, finetune, source, error_code, colo, account: some"
    parser.add_argument(
        "--by", type=_groups, default=(UsageGroup.MODEL,), metavar="GROUPS", help=by
    )
    parser.add_argument("--model", default="", help="only this model")
    parser.add_argument("--account", default="", help="only this account, by its id")
    for name, words in (("from", "from then on"), ("to", "before then")):
        text = f"only {words}: {EXAMPLES}"
        parser.add_argument(
            f"--{name}", dest=f"{name}_ms", type=read_moment, default=0, help=text, metavar="TIME"
        )


async def print_usage(address: str, arguments: argparse.Namespace) -> None:
    """Ask the running service, and print what it says; again and again with `--watch`."""
    from libs.common.clients.usage import UsageClient

    query = UsageQuery(
        account=arguments.account,
        model=arguments.model,
        from_ms=arguments.from_ms,
        to_ms=arguments.to_ms,
        group_by=arguments.by,
    )
    async with UsageClient(address) as client:
        if arguments.watch:
            await _watch(client, query, arguments.watch)
            return
        rows = await client.query(query)
    if arguments.csv:
        sys.stdout.write(as_csv(rows, query.group_by))
    elif arguments.json:
        sys.stdout.write(as_json(rows, query.group_by))
    else:
        sys.stdout.write(as_table(rows, query.group_by))


async def _watch(client: UsageClient, query: UsageQuery, every_s: float) -> None:
    """Show what there is now until somebody ends it; a service that is away may come back."""
    while True:
        try:
            shown = as_table(await client.query(query), query.group_by)
        except Unavailable as error:
            shown = f"no answer now: {error}\n"
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError  # grpcio loses one that comes together with an answer
        sys.stdout.write(f"{CLEAR}{shown}" if sys.stdout.isatty() else f"{shown}\n")
        sys.stdout.flush()
        await asyncio.sleep(every_s)


def _groups(text: str) -> tuple[UsageGroup, ...]:
    try:
        return groups_of(text)
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_seconds(text: str) -> float:
    """Read how often something is shown."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds, 0.1 to 3600, got {text!r}")
    return found
