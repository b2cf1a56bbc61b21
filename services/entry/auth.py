"""Who calls: a token's account, from the copy of control's tokens that entry holds."""

from __future__ import annotations

from libs.common.clock import Clock
from libs.common.errors import AccountBlocked, Unauthenticated, WrongAccount
from libs.common.tokens import token_hash
from libs.common.world import World
from libs.common.world_map import Account, Token


class Auth:
    """Looks tokens up; a revoked one is unknown as soon as the world says so."""

    def __init__(self, *, world: World, clock: Clock) -> None:
        self._world = world
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Auth tokens={len(self._world.table(Token))}>"

    def token(self, secret: str, *, account: str = "") -> Token:
        """Return the token, which must be of `account` where one is named.

        Raises Unauthenticated, WrongAccount, AccountBlocked.
        """
        token = self._world.table(Token).get(token_hash(secret)) if secret else None
        owner = self._world.table(Account).get(token.account) if token else None
        if token is None or owner is None:  # a deleted account's tokens open nothing
            raise Unauthenticated("Authentication error")
        if 0 < token.expires_at_ms <= self._clock.unix_ms():
            raise Unauthenticated("Authentication error")
        if account and account != token.account:
            raise WrongAccount(f"the token is not for account {account[:64]}")
        if owner.blocked:
            raise AccountBlocked(f"account {owner.id} is blocked")
        return token


def bearer(authorization: str | None) -> str:
    """Return the token of an Authorization header, empty where there is none."""
    scheme, _, secret = (authorization or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
