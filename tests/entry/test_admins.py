"""Who sees more than its own account."""

from __future__ import annotations

import pytest

from libs.common.world_map import Scope, Token
from services.control.tokens import DEFAULT_ACCOUNT
from services.entry.admins import Admins
from services.entry.app import Config


@pytest.mark.parametrize(
    ("account", "scopes", "sees"),
    [
        ("operators", ("read", "admin"), True),
        ("operators", ("read",), False),
        ("customer", ("run", "read", "write", "admin"), False),
        ("", ("admin",), False),
    ],
    ids=["an operator", "an operator's reader", "a customer with all scopes", "nobody"],
)
def test_all_is_seen_with_an_operators_account_and_the_scope_admin(
    account: str, scopes: tuple[Scope, ...], sees: bool
) -> None:
    admins = Admins("others, operators,")

    assert admins.see_all(Token(hash="h", account=account, scopes=scopes)) is sees


def test_without_a_name_nobody_sees_all() -> None:
    assert not Admins("").see_all(Token(hash="h", account=""))


def test_the_default_account_is_the_operators_unless_another_is_named() -> None:
    assert Admins(Config().admin_accounts).see_all(Token(hash="h", account=DEFAULT_ACCOUNT.id))
