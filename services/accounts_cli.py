"""The flags of `constellation account` and `constellation token`, and what they do to control."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from libs.common.account_limits import DAY_MS, NEW_NEURONS, NEW_REQUESTS, NEW_TOKENS, TASKS
from libs.common.bounds import LONGEST_S, MOST
from libs.common.errors import BadInput, Unavailable
from libs.common.tokens import token_hash
from libs.common.world import World
from libs.common.world_map import Account, Ref, Scope, Spent, Token
from services.accounts_tables import account_table, one_account, token_table
from services.arguments import Add, Run

if TYPE_CHECKING:
    from libs.common.clients.control import ControlClient

SCOPE_NAMES = get_args(Scope)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CERTIFICATE = "does it ask for a certificate (docs/security.md)"
SHORTEST_ID = 8  # of a token's hash: what a list shows has 12


def add_commands(commands: Any, add: Add) -> None:
    """Add both groups; `add` makes a command with the flags that all have."""
    accounts = commands.add_parser("account", help="who may use this, and how much")
    group = accounts.add_subparsers(required=True, metavar="WHAT")
    create = _with_limits(_of(add, group, "create", "make an account", _create_account))
    create.add_argument("name")
    create.add_argument("--id", type=_account_id, help="32 hexadecimal digits")
    _of(add, group, "list", "all accounts", _list_accounts)
    for name, text, run in (
        ("show", "one account, its limits and what it has used today", _show_account),
        ("block", "refuse its calls", _block),
        ("unblock", "take its calls again", _unblock),
        ("delete", "remove it and its tokens", _delete_account),
    ):
        _of(add, group, name, text, run).add_argument("account", help="id or name")
    update = _with_limits(_of(add, group, "update", "change name or limits", _update_account))
    update.add_argument("account", help="id or name")
    update.add_argument("--name", help="its new name")
    tokens = commands.add_parser("token", help="what opens an account")
    group = tokens.add_subparsers(required=True, metavar="WHAT")
    _token_flags(_of(add, group, "create", "make a token; it is shown once", _create_token))
    listed = _of(add, group, "list", "all tokens, without their secrets", _list_tokens)
    listed.add_argument("--account", default="", help="id or name; all without")
    revoke = _of(add, group, "revoke", "make a token open nothing", _revoke)
    revoke.add_argument("token", help="its id or name in the list")


def _of(add: Add, group: Any, name: str, text: str, run: Run) -> argparse.ArgumentParser:
    command = add(group, name, text, run)
    where = "control's address; that of the state folder without"
    command.add_argument("--control", default="", help=where)
    return command


def _with_limits(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    rate = "requests per minute of a task, or none; may be repeated"
    command.add_argument(
        "--rate", action="append", type=_rate, default=[], metavar="TASK=N", help=rate
    )
    command.add_argument("--tokens-per-minute", type=_count, metavar="N", help="or none")
    command.add_argument("--neurons-per-day", type=_amount, metavar="N", help="or none")
    command.add_argument("--unlimited", action="store_true", help="no limits but those given")
    return command


def _token_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--account", default="default", help="id or name")
    command.add_argument("--name", default="", help="what lists show, and what revokes it")
    scopes = f"comma-separated, of {', '.join(SCOPE_NAMES)}"
    command.add_argument("--scopes", type=_scopes, default=("run", "read"), help=scopes)
    models = "comma-separated names; all that the account may run without"
    command.add_argument("--models", type=_names, default=(), help=models)
    command.add_argument("--expires", type=seconds, default=0, help="in so long: 12h, 30d")
    most = "the highest `priority` that its calls may ask for (9)"
    command.add_argument("--max-priority", type=int, choices=range(10), default=9, help=most)


async def _create_account(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        world = await known(control)
        taken = [*world.table(Account).values()]
        if any(arguments.name in (each.name, each.id) for each in taken):
            raise BadInput(f"there is an account {arguments.name!r} already")
        account = limited(
            Account(
                id=arguments.id or secrets.token_hex(16),
                name=arguments.name,
                requests_per_minute={} if arguments.unlimited else NEW_REQUESTS,
                tokens_per_minute=0 if arguments.unlimited else NEW_TOKENS,
                neurons_per_day=0 if arguments.unlimited else NEW_NEURONS,
                created_at_ms=_now_ms(),
            ),
            arguments,
        )
        if any(each.id == account.id for each in taken):
            raise BadInput(f"there is an account {account.id} already")
        await control.put(account)
    sys.stdout.write(f"{account.id}\n")


async def _update_account(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        account = account_named(await known(control), arguments.account)
        if arguments.unlimited:
            account = replace(
                account, requests_per_minute={}, tokens_per_minute=0, neurons_per_day=0
            )
        if arguments.name is not None:
            account = replace(account, name=arguments.name)
        await control.put(limited(account, arguments))


def limited(account: Account, flags: argparse.Namespace) -> Account:
    """Return the account with the limits that the flags name."""
    rates = {**account.requests_per_minute, **dict(flags.rate)}
    account = replace(account, requests_per_minute={t: n for t, n in rates.items() if n})
    if flags.tokens_per_minute is not None:
        account = replace(account, tokens_per_minute=flags.tokens_per_minute)
    if flags.neurons_per_day is not None:
        account = replace(account, neurons_per_day=flags.neurons_per_day)
    return account


async def _list_accounts(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        world = await known(control)
    sys.stdout.write(account_table(world.table(Account).values(), _used_today(world)))


async def _show_account(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        world = await known(control)
    account = account_named(world, arguments.account)
    tokens = [each for each in world.table(Token).values() if each.account == account.id]
    used = _used_today(world).get(account.id, 0.0)
    sys.stdout.write(one_account(account, used=used, tokens=len(tokens)))


async def _block(arguments: argparse.Namespace) -> None:
    await _set_blocked(arguments, blocked=True)


async def _unblock(arguments: argparse.Namespace) -> None:
    await _set_blocked(arguments, blocked=False)


async def _set_blocked(arguments: argparse.Namespace, *, blocked: bool) -> None:
    async with open_control(arguments) as control:
        account = account_named(await known(control), arguments.account)
        await control.put(replace(account, blocked=blocked))


async def _delete_account(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        world = await known(control)
        account = account_named(world, arguments.account)
        await control.delete(Ref("account", account.id))  # first: its tokens open nothing then
        for token in world.table(Token).values():
            if token.account == account.id:
                await control.delete(Ref("token", token.hash))


async def _create_token(arguments: argparse.Namespace) -> None:
    secret = "cst_" + secrets.token_urlsafe(32)
    now = _now_ms()
    async with open_control(arguments) as control:
        account = account_named(await known(control), arguments.account)
        await control.put(
            Token(
                hash=token_hash(secret),
                account=account.id,
                name=arguments.name,
                max_priority=arguments.max_priority,
                created_at_ms=now,
                expires_at_ms=now + 1000 * arguments.expires if arguments.expires else 0,
                scopes=arguments.scopes,
                models=arguments.models,
            )
        )
    sys.stdout.write(f"{secret}\n")
    sys.stderr.write("this is the only time that it is shown\n")


async def _list_tokens(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        world = await known(control)
    tokens = list(world.table(Token).values())
    if arguments.account:
        owner = account_named(world, arguments.account).id
        tokens = [each for each in tokens if each.account == owner]
    sys.stdout.write(token_table(tokens, world.table(Account), now_ms=_now_ms()))


async def _revoke(arguments: argparse.Namespace) -> None:
    async with open_control(arguments) as control:
        token = token_named(await known(control), arguments.token)
        await control.delete(Ref("token", token.hash))


def account_named(world: World, name: str) -> Account:
    """Return an account by its id or its name; BadInput where that is none or several."""
    accounts = world.table(Account)
    if name in accounts:
        return accounts[name]
    found = [each for each in accounts.values() if each.name == name]
    if len(found) != 1:
        what = f"there are {len(found)} accounts named" if found else "there is no account"
        raise BadInput(f"{what} {name!r}: `constellation account list` shows their ids")
    return found[0]


def token_named(world: World, name: str) -> Token:
    """Return a token by the beginning of its hash or its name; BadInput for none or several."""
    tokens = world.table(Token).values()
    found = [each for each in tokens if len(name) >= SHORTEST_ID and each.hash.startswith(name)]
    found = found or [each for each in tokens if name and each.name == name]
    if len(found) != 1:
        what = f"there are {len(found)} tokens" if found else "there is no token"
        raise BadInput(f"{what} {name!r}: `constellation token list` shows their ids")
    return found[0]


async def known(control: ControlClient) -> World:
    """Return the world as it is now."""
    world = World()
    updates = control.watch()
    try:
        world.apply(await anext(updates))
    finally:
        await updates.aclose()
    return world


@asynccontextmanager
async def open_control(arguments: argparse.Namespace) -> AsyncIterator[ControlClient]:
    """Call the control that the flags name; Unavailable says where nobody answers."""
    from libs.common.clients.away import is_away  # all commands load this module
    from libs.common.clients.control import ControlClient
    from libs.common.hop_settings import caller

    socket: Path = arguments.state_dir / "control.sock"
    if not arguments.control and not socket.exists():  # noqa: ASYNC240  # one look at a local file
        where = f"nothing runs in {arguments.state_dir}: there is no control.sock"
        raise BadInput(f"{where}; --control names a control elsewhere")
    try:
        address, me = arguments.control or f"unix:{socket}", caller(os.environ)
        async with ControlClient(address, caller=me) as control:
            yield control
    except Unavailable as error:
        if not is_away(error):
            raise
        text = f"nothing answers in {arguments.state_dir}: is up running?"
        if arguments.control:
            text = f"nothing answers at {arguments.control}: is it running, and {CERTIFICATE}?"
        raise Unavailable(text) from error


def _used_today(world: World) -> Mapping[str, float]:
    today = _now_ms() // DAY_MS
    spent = world.table(Spent).values()
    return {each.account: each.neurons for each in spent if each.day == today}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _account_id(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise argparse.ArgumentTypeError(f"expected 32 hexadecimal digits, got {text!r}")
    return text


def _rate(text: str) -> tuple[str, int]:
    task, _, number = text.partition("=")
    if task not in TASKS:
        raise argparse.ArgumentTypeError(f"no task {task!r}; there are: {', '.join(TASKS)}")
    return task, _count(number)


def _count(text: str) -> int:
    """Read a limit; `none` is 0, and an explicit 0 would block: there is `account block`."""
    if text == "none":
        return 0
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"expected a number from 1, or none, got {text!r}")
    return int(text)


def _amount(text: str) -> float:
    if text == "none":
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e15:
        raise argparse.ArgumentTypeError(f"expected a number above 0, or none, got {text!r}")
    return number


def _scopes(text: str) -> tuple[Scope, ...]:
    wanted = _names(text)
    if not wanted or (unknown := [each for each in wanted if each not in SCOPE_NAMES]):
        what = ", ".join(unknown) if wanted else "none"
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(SCOPE_NAMES)}, got {what}")
    return cast(tuple[Scope, ...], wanted)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def seconds(text: str) -> int:
    """Read a time like 90s, 30m, 12h or 30d."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and unit in UNITS):
        raise argparse.ArgumentTypeError(f"expected a time like 90s, 30m, 12h or 30d, got {text!r}")
    seconds = int(number) * UNITS[unit]
    if not 0 < seconds <= 100 * 12 * LONGEST_S:
        raise argparse.ArgumentTypeError(f"expected a time of up to a hundred years, got {text!r}")
    return seconds
