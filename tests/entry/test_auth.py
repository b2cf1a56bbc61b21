"""Auth: a token opens its own account and nothing else."""

import pytest

from libs.common.clock import ManualClock, SystemClock
from libs.common.errors import (
    AccountBlocked,
    RequestError,
    ScopeMissing,
    Unauthenticated,
    Unavailable,
    WrongAccount,
)
from libs.common.tokens import token_hash
from libs.common.world import World
from libs.common.world_map import Account, Ref, Scope, Token, Update
from services.entry import auth as module
from services.entry.auth import Auth, bearer
from tests.entry.fakes import (
    ACCOUNT,
    BLOCKED_SECRET,
    EXPIRED_SECRET,
    OTHER_ACCOUNT,
    OTHER_SECRET,
    SECRET,
    small_world,
)
from tests.fakes import put


def ask(auth: Auth, secret: str, account: str = "") -> Token:
    return auth.caller({"authorization": f"Bearer {secret}"}, account=account)


@pytest.mark.parametrize("account", [ACCOUNT, ""], ids=["its account", "whichever it is"])
def test_a_token_names_its_account(account: str) -> None:
    auth = Auth(world=small_world(), clock=SystemClock())

    assert ask(auth, SECRET, account).account == ACCOUNT


@pytest.mark.parametrize(
    ("headers", "account"),
    [
        ({"x-auth-key": SECRET}, ACCOUNT),
        ({"x-auth-key": SECRET, "authorization": "Basic abc"}, ACCOUNT),
        ({"x-auth-key": SECRET, "authorization": f"Bearer {OTHER_SECRET}"}, OTHER_ACCOUNT),
    ],
    ids=["alone", "beside what is no token", "after a token"],
)
def test_a_token_may_come_in_a_header_of_its_own(headers: dict[str, str], account: str) -> None:
    auth = Auth(world=small_world(), clock=SystemClock())

    for _ in range(2):
        assert auth.caller(headers).account == account


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

    for _ in range(2):
        with pytest.raises(error):
            ask(auth, secret, account)


def test_a_deleted_account_is_nobody() -> None:
    world = small_world()
    auth = Auth(world=world, clock=SystemClock())

    world.apply(Update(version=world.version + 1, deletes=(Ref("account", ACCOUNT),)))

    with pytest.raises(Unauthenticated):
        ask(auth, SECRET, account=ACCOUNT)


def test_a_revoked_token_is_refused_at_once() -> None:
    world = small_world()
    auth = Auth(world=world, clock=SystemClock())

    world.apply(Update(version=9, deletes=(Ref("token", token_hash(SECRET)),)))

    with pytest.raises(Unauthenticated):
        ask(auth, SECRET)


def test_a_token_that_was_used_before_is_still_checked() -> None:
    world, clock = small_world(), ManualClock()
    auth = Auth(world=world, clock=clock)
    soon = clock.unix_ms() + 1_000
    put(world, Token(hash=token_hash("short"), account=ACCOUNT, expires_at_ms=soon))
    assert ask(auth, "short", ACCOUNT) == ask(auth, "short")

    with pytest.raises(WrongAccount):
        ask(auth, "short", account=OTHER_ACCOUNT)
    put(world, Account(id=ACCOUNT, blocked=True))
    with pytest.raises(AccountBlocked):
        ask(auth, "short")
    put(world, Account(id=ACCOUNT))
    assert ask(auth, "short").account == ACCOUNT
    clock.advance(1.0)
    with pytest.raises(Unauthenticated):
        ask(auth, "short")


@pytest.mark.parametrize(
    "change",
    [
        Update(version=9, deletes=(Ref("token", token_hash(SECRET)),)),
        Update(version=9, deletes=(Ref("account", ACCOUNT),)),
        Update(version=9, complete=True, puts=(Account(id=ACCOUNT),)),
    ],
    ids=["its token", "its account", "by a world without it"],
)
def test_a_token_that_was_used_before_is_refused_at_once_when_taken_away(change: Update) -> None:
    world = small_world()
    auth = Auth(world=world, clock=SystemClock())
    ask(auth, SECRET)

    world.apply(change)

    for _ in range(2):
        with pytest.raises(Unauthenticated):
            ask(auth, SECRET)
    put(world, Account(id=ACCOUNT), Token(hash=token_hash(SECRET), account=ACCOUNT))
    assert ask(auth, SECRET).account == ACCOUNT


def test_a_token_that_changed_is_the_new_one() -> None:
    world = small_world()
    auth = Auth(world=world, clock=SystemClock())
    before = ask(auth, SECRET)

    put(world, Token(hash=token_hash(SECRET), account=OTHER_ACCOUNT, max_priority=1))

    assert (before.account, before.max_priority) == (ACCOUNT, 6)
    after = ask(auth, SECRET)
    assert (after.account, after.max_priority) == (OTHER_ACCOUNT, 1)


def test_a_token_without_a_hash_opens_nothing() -> None:
    world = small_world()
    auth = Auth(world=world, clock=SystemClock())

    put(world, Token(hash="", account=ACCOUNT))

    for secret in ("", "nobody's"):
        with pytest.raises(Unauthenticated):
            ask(auth, secret)


def test_guesses_are_not_remembered() -> None:
    auth = Auth(world=small_world(), clock=SystemClock())

    for number in range(100):
        with pytest.raises(Unauthenticated):
            ask(auth, f"guess {number}")

    assert repr(auth) == "<Auth tokens=4 remembered=0>"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HASHES", 1)
    auth = Auth(world=small_world(), clock=SystemClock())

    for _ in range(2):
        assert ask(auth, SECRET).account == ACCOUNT
        assert ask(auth, OTHER_SECRET).account == OTHER_ACCOUNT

    assert repr(auth) == "<Auth tokens=4 remembered=1>"


def test_a_long_header_is_read_and_not_remembered() -> None:
    auth = Auth(world=small_world(), clock=SystemClock())

    assert ask(auth, " " * 1000 + SECRET).account == ACCOUNT

    assert repr(auth) == "<Auth tokens=4 remembered=0>"


@pytest.mark.parametrize(
    ("header", "secret"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), ("", "")],
)
def test_the_bearer_of_a_header(header: str, secret: str) -> None:
    assert bearer(header) == secret


@pytest.mark.parametrize("scope", ["run", "read", "write", "admin"])
def test_a_token_does_what_its_scopes_say(scope: Scope) -> None:
    world = small_world()
    put(world, Token(hash=token_hash("narrow"), account=ACCOUNT, scopes=("run", "write")))
    auth = Auth(world=world, clock=SystemClock())

    def ask_for() -> Token:
        return auth.caller({"authorization": "Bearer narrow"}, scope=scope)

    if scope in ("run", "write"):
        assert ask_for().account == ACCOUNT
    else:
        with pytest.raises(ScopeMissing, match=f"the scope {scope}"):
            ask_for()


def test_before_control_has_said_anything_no_token_is_called_wrong() -> None:
    auth = Auth(world=World(), clock=SystemClock())

    with pytest.raises(Unavailable, match="nothing has come from control yet"):
        ask(auth, SECRET)
