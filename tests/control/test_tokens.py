"""The default token: made once, kept secret, replaced when told to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from libs.common.errors import BadInput
from libs.common.tokens import token_hash
from libs.common.world_map import Account, Ref, Token
from services.control.tokens import DEFAULT_ACCOUNT, account_of, default_access, ensure_token


def test_a_token_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    token = ensure_token(tmp_path / "new")

    assert token.startswith("cst_")
    assert len(token) >= 36
    assert (tmp_path / "new" / "token").stat().st_mode & 0o777 == 0o600
    assert ensure_token(tmp_path / "new") == token
    assert ensure_token(tmp_path / "other") != token


def test_a_given_token_is_taken_and_not_written(tmp_path: Path) -> None:
    assert ensure_token(tmp_path, "mine") == "mine"
    assert not (tmp_path / "token").exists()


def test_an_empty_token_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")

    assert ensure_token(tmp_path).startswith("cst_")


def test_the_first_start_writes_account_and_token() -> None:
    puts, deletes = default_access("t", accounts={}, tokens={}, at_ms=5)

    token = Token(
        hash=hashlib.sha256(b"t").hexdigest(),
        account=DEFAULT_ACCOUNT.id,
        name="default",
        created_at_ms=5,
    )
    assert puts == [DEFAULT_ACCOUNT, token]
    assert deletes == []


def test_another_token_replaces_the_default_one_alone() -> None:
    old = Token(hash=token_hash("old"), account=DEFAULT_ACCOUNT.id, name="default")
    other = Token(hash=token_hash("ci"), account=DEFAULT_ACCOUNT.id, name="ci")
    accounts: dict[str, Account] = {DEFAULT_ACCOUNT.id: DEFAULT_ACCOUNT}
    tokens = {each.hash: each for each in (old, other)}

    puts, deletes = default_access("new", accounts=accounts, tokens=tokens, at_ms=0)
    again, gone = default_access("old", accounts=accounts, tokens=tokens, at_ms=9)

    assert [type(each) for each in puts] == [Token]
    assert deletes == [Ref("token", old.hash)]
    assert (again, gone) == ([], [])


def test_a_token_of_another_account_is_left_alone_whatever_its_name() -> None:
    theirs = Token(hash=token_hash("theirs"), account="a", name="default")

    puts, deletes = default_access("t", accounts={}, tokens={theirs.hash: theirs}, at_ms=0)

    assert [type(each) for each in puts] == [Account, Token]
    assert deletes == []


def test_a_tokens_account_is_its_own_and_else_the_default_one() -> None:
    theirs = Token(hash=token_hash("theirs"), account="a", name="ci")
    tokens = {theirs.hash: theirs}

    assert account_of("theirs", tokens) == "a"
    assert account_of("unknown", tokens) == DEFAULT_ACCOUNT.id


def test_a_token_file_that_is_no_text_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")

    with pytest.raises(BadInput, match=f"{tmp_path}/token is not UTF-8 text"):
        ensure_token(tmp_path)


def test_a_token_that_came_as_any_bytes_has_a_hash() -> None:
    assert token_hash("\udcff") == hashlib.sha256(b"\xff").hexdigest()
