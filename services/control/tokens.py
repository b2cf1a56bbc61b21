"""The default account and its token, made at the first start."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from libs.common.world_map import Account, Ref, Resource, Token, ref

DEFAULT_ACCOUNT = Account(id="0123456789abcdef0123456789abcdef", name="default")
DEFAULT_TOKEN_NAME = "default"


def token_hash(token: str) -> str:
    """Return what is kept of a token: its SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def ensure_token(state_dir: Path, given: str = "") -> str:
    """Return the token given, else that in the folder, made where there is none."""
    path = state_dir / "token"
    if given:
        return given
    try:
        if kept := path.read_text().strip():
            return kept
    except FileNotFoundError:
        pass
    token = "cst_" + secrets.token_urlsafe(32)
    state_dir.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"token.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")
    new.replace(path)
    return token


def default_access(
    token: str, *, accounts: Mapping[str, Account], tokens: Mapping[str, Token], at_ms: int
) -> tuple[list[Resource], list[Ref]]:
    """Return what to write and to delete so that the default token is this one alone."""
    hashed = token_hash(token)
    old = [each for each in tokens.values() if each.name == DEFAULT_TOKEN_NAME]
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
