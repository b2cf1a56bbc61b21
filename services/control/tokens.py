"""The default account and its token, made at the first start."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from libs.common.errors import BadInput
from libs.common.tokens import token_hash
from libs.common.world_map import Account, Ref, Resource, Token, ref

DEFAULT_ACCOUNT = Account(id="0123456789abcdef0123456789abcdef", name="default")
DEFAULT_TOKEN_NAME = "default"


def ensure_token(state_dir: Path, given: str = "") -> str:
    """Return the token given, else that in the folder, made where there is none."""
    path = state_dir / "token"
    if token := given or kept_token(state_dir):
        return token
    token = "cst_" + secrets.token_urlsafe(32)
    state_dir.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"token.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")
    new.replace(path)
    return token


def kept_token(state_dir: Path) -> str:
    """Return the token in the folder, or nothing; BadInput for a file that is no text."""
    path = state_dir / "token"
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        why = f"{path} is not UTF-8 text: put a token there, or remove it to have one made"
        raise BadInput(why) from error


def account_of(token: str, tokens: Mapping[str, Token]) -> str:
    """Return whose a token is; the default account for one that is not known."""
    known = tokens.get(token_hash(token))
    return known.account if known else DEFAULT_ACCOUNT.id


def default_access(
    token: str, *, accounts: Mapping[str, Account], tokens: Mapping[str, Token], at_ms: int
) -> tuple[list[Resource], list[Ref]]:
    """Return what to write and to delete so that the default token is this one alone."""
    hashed = token_hash(token)
    mine = [each for each in tokens.values() if each.account == DEFAULT_ACCOUNT.id]
    old = [each for each in mine if each.name == DEFAULT_TOKEN_NAME]
    puts: list[Resource] = []
    if DEFAULT_ACCOUNT.id not in accounts:
        puts.append(DEFAULT_ACCOUNT)
    if hashed not in tokens:
        puts.append(
            Token(
                hash=hashed,
                account=DEFAULT_ACCOUNT.id,
                name=DEFAULT_TOKEN_NAME,
                created_at_ms=at_ms,
            )
        )
    return puts, [ref(each) for each in old if each.hash != hashed]
