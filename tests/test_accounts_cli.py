"""`constellation account` and `constellation token`, spoken to a running control."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from libs.common.account_limits import NEW_REQUESTS
from libs.common.catalog import Model
from libs.common.errors import BadInput
from libs.common.tokens import token_hash
from libs.common.world import World
from libs.common.world_map import SCOPES, Account, Ref, Token
from services.accounts_cli import known
from services.commands import _parser
from services.control import app
from services.control.service import Control
from services.control.tokens import DEFAULT_ACCOUNT

Say = Callable[[str], Coroutine[Any, Any, list[str]]]
MODEL = Model(name="@cf/demo/m", task="text-generation")


@pytest.fixture
async def control(folder: Path) -> AsyncIterator[Control]:
    config = app.Config(state_dir=folder, listen="127.0.0.1:0", token="mine")
    control = app.build(config, catalog=[MODEL])
    async with app.serve(config, control) as (_, address):
        control.address = address  # type: ignore[attr-defined]
        yield control


@pytest.fixture
def say(control: Control, folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command and return the lines that it prints."""

    async def say(line: str) -> list[str]:
        words = shlex.split(line)
        parsed = _parser({"CONSTELLATION_STATE_DIR": str(folder)}).parse_args(words)
        await parsed.run(parsed)
        return capsys.readouterr().out.splitlines()

    return say


async def world_of(control: Control) -> World:
    return await known(control)  # type: ignore[arg-type]


async def account(control: Control, name: str) -> Account:
    table = (await world_of(control)).table(Account)
    return next(each for each in table.values() if each.name == name)


async def test_a_new_account_has_the_usual_limits(control: Control, say: Say) -> None:
    (made,) = await say("account create acme")

    found = await account(control, "acme")
    assert found.id == made
    assert len(made) == 32
    assert found.requests_per_minute == NEW_REQUESTS
    assert found.requests_per_minute["text-generation"] == 300
    assert found.neurons_per_day == 10_000


async def test_the_default_account_has_no_limits(control: Control) -> None:
    found = (await world_of(control)).table(Account)[DEFAULT_ACCOUNT.id]

    assert (found.requests_per_minute, found.neurons_per_day) == ({}, 0)


@pytest.mark.parametrize(
    ("flags", "limits"),
    [
        ("--unlimited", ({}, 0, 0)),
        ("--unlimited --rate translation=7", ({"translation": 7}, 0, 0)),
        ("--unlimited --tokens-per-minute 90 --neurons-per-day 1.5", ({}, 90, 1.5)),
        ("--rate dumb-pipe=none --neurons-per-day none", (None, 0, 0)),
    ],
)
async def test_limits_are_given_by_flags(
    control: Control, say: Say, flags: str, limits: tuple[dict[str, int] | None, int, float]
) -> None:
    await say(f"account create acme {flags}")

    found = await account(control, "acme")
    usual = {task: rate for task, rate in NEW_REQUESTS.items() if task != "dumb-pipe"}
    rates, tokens, neurons = limits
    assert found.requests_per_minute == (usual if rates is None else rates)
    assert (found.tokens_per_minute, found.neurons_per_day) == (tokens, neurons)


async def test_neurons_of_today_are_shown_only_where_they_are_counted(say: Say) -> None:
    await say("account create acme --unlimited")
    await say("account create bcme")

    free, limited = [line.split() for line in await say("account list") if "cme" in line]
    shown = "\n".join(await say("account show acme"))

    assert free[3:] == ["-", "no", "limit"]
    assert limited[3:] == ["0.0", "10000"]
    assert "no limit (used today: -)" in shown


async def test_an_account_is_changed_blocked_and_deleted(control: Control, say: Say) -> None:
    (made,) = await say("account create acme --unlimited")
    secret = (await say("token create --account acme"))[0]

    await say(f"account update {made} --name bcme --rate translation=9")
    await say("account block bcme")
    blocked = await account(control, "bcme")
    shown = "\n".join(await say("account show bcme"))
    await say("account unblock bcme")
    unblocked = await account(control, "bcme")
    await say("account delete bcme")

    assert blocked.blocked
    assert blocked.requests_per_minute == {"translation": 9}
    assert "blocked" in shown
    assert "translation per minute  9" in shown
    assert not unblocked.blocked
    world = await world_of(control)
    assert made not in world.table(Account)
    assert token_hash(secret) not in world.table(Token)


async def test_a_token_is_shown_once_and_kept_as_a_hash(control: Control, say: Say) -> None:
    await say("account create acme")

    (secret,) = await say(
        "token create --account acme --name ci --scopes run --models @cf/demo/m --expires 30d"
    )

    token = (await world_of(control)).table(Token)[token_hash(secret)]
    assert secret.startswith("cst_")
    assert (token.name, token.scopes, token.models) == ("ci", ("run",), ("@cf/demo/m",))
    assert token.expires_at_ms - token.created_at_ms == 30 * 86_400_000
    listed = "\n".join(await say("token list --account acme"))
    assert "ci" in listed
    assert secret not in listed
    assert token.hash not in listed


async def test_a_token_is_revoked_by_id_or_name(control: Control, say: Say) -> None:
    await say("token create --name one")
    await say("token create --name two")
    two = next(line for line in await say("token list") if " two " in line).split()[0]

    await say("token revoke one")
    await say(f"token revoke {two}")

    assert [each.name for each in (await world_of(control)).table(Token).values()] == ["default"]


async def test_the_default_token_may_do_everything(control: Control) -> None:
    token = (await world_of(control)).table(Token)[token_hash("mine")]

    assert token.scopes == SCOPES


async def test_control_may_be_elsewhere(control: Control, say: Say, tmp_path: Path) -> None:
    address = control.address  # type: ignore[attr-defined]

    (made,) = await say(f"account create acme --state-dir {tmp_path} --control {address}")

    assert made in (await world_of(control)).table(Account)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("account create default", "there is an account 'default' already"),
        (f"account create x --id {DEFAULT_ACCOUNT.id}", "already"),
        ("account show nobody", "there is no account 'nobody'"),
        ("token create --account nobody", "there is no account 'nobody'"),
        ("token create --models @cf/none", "there is no model '@cf/none'"),
        ("token revoke nothing", "there is no token 'nothing'"),
        ("account list --state-dir /nowhere", "nothing runs in /nowhere"),
    ],
)
async def test_a_mistake_is_told(say: Say, line: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        await say(line)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("account create x --id 12", "32 hexadecimal digits"),
        ("account create x --rate nothing=3", "no task 'nothing'"),
        ("account create x --rate translation=0", "a number from 1, or none"),
        ("account create x --neurons-per-day -1", "a number above 0, or none"),
        ("token create --scopes fly", "got fly"),
        ("token create --scopes ,", "got none"),
        ("token create --expires soon", "a time like 90s"),
        ("token create --expires 0d", "up to a hundred years"),
    ],
)
def test_a_bad_flag_is_told(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser({}).parse_args(shlex.split(line))

    assert told in capsys.readouterr().err


async def test_two_of_a_name_are_told_apart_by_their_ids(control: Control, say: Say) -> None:
    for digit in "12":
        await control.put(Account(id=digit * 32, name="twin"))

    with pytest.raises(BadInput, match="there are 2 accounts named 'twin'"):
        await say("account block twin")
    await say(f"account block {'1' * 32}")

    twins = (await world_of(control)).table(Account)
    assert (twins["1" * 32].blocked, twins["2" * 32].blocked) == (True, False)
    await control.delete(Ref("account", "2" * 32))
    assert len(await say("account list")) == 3
