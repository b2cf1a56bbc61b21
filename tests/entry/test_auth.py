"""Auth: a token opens its own account and nothing else."""

import pytest

from libs.common.clock import SystemClock
from libs.common.errors import AccountBlocked, RequestError, Unauthenticated, WrongAccount
from libs.common.tokens import token_hash
from libs.common.world_map import Ref, Update
from services.entry.auth import Auth, bearer
from tests.entry.fakes import (
    ACCOUNT,
    BLOCKED_SECRET,
    EXPIRED_SECRET,
    OTHER_ACCOUNT,
    SECRET,
    small_world,
)


@pytest.mark.parametrize("account", [ACCOUNT, ""], ids=["its account", "whichever it is"])
def test_a_token_names_its_account(account: str) -> None:
    auth = Auth(world=small_world(), clock=SystemClock())

    assert auth.token(SECRET, account=account).account == ACCOUNT


@pytest.mark.parametrize(
    ("secret", "account", "error"),
    [
        ("", ACCOUNT, Unauthenticated),
        ("nobody's", ACCOUNT, Unauthenticated),
        ("\udcff", ACCOUNT, Unauthenticated),
        (EXPIRED_SECRET, ACCOUNT, Unauthenticated),
        (SECRET, OTHER_ACCOUNT, WrongAccount),
        (BLOCKED_SECRET, "b" * 32, AccountBlocked),
    ],
    ids=["none", "unknown", "no text", "expired", "another account", "blocked"],
)
def test_what_is_not_right_is_refused(secret: str, account: str, error: type[RequestError]) -> None:
    auth = Auth(world=small_world(), clock=SystemClock())

    with pytest.raises(error):
        auth.token(secret, account=account)


def test_a_deleted_account_is_nobody() -> None:
    world = small_world()
    auth = Auth(world=world, clock=SystemClock())

    world.apply(Update(version=world.version + 1, deletes=(Ref("account", ACCOUNT),)))

    with pytest.raises(Unauthenticated):
        auth.token(SECRET, account=ACCOUNT)


def test_a_revoked_token_is_refused_at_once() -> None:
    world = small_world()
    auth = Auth(world=world, clock=SystemClock())

    world.apply(Update(version=9, deletes=(Ref("token", token_hash(SECRET)),)))

    with pytest.raises(Unauthenticated):
        auth.token(SECRET)


@pytest.mark.parametrize(
    ("header", "secret"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), ("", ""), (None, "")],
)
def test_the_bearer_of_a_header(header: str | None, secret: str) -> None:
    assert bearer(header) == secret
