"""Who calls: a token's account, from the copy of control's tokens that entry holds."""

from __future__ import annotations

from libs.common.clock import Clock
from libs.common.errors import AccountBlocked, Unauthenticated, WrongAccount
from libs.common.tokens import token_hash
from libs.common.world import World
from libs.common.world_map import Account, Token

MOST_HASHES = 10_000


class Auth:
    """Looks tokens up; a revoked one is unknown as soon as the world says so.

    Of what it has seen it keeps hashes only, never a verdict: whether a token exists, has
    expired or is of a blocked account is read from the world each time.
    """

    def __init__(self, *, world: World, clock: Clock) -> None:
        self._clock = clock
        # A world changes its tables, and never puts others in their place.
        self._tokens = world.table(Token)
        self._accounts = world.table(Account)
        # By secret, of tokens that there are. Looking one up tells nothing of the others: a dict
        # compares texts only where their hashes are the same, and those are keyed anew in every
        # process, so that no part of a secret can be found out by how long its refusal takes.
        self._hashes: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Auth tokens={len(self._tokens)} remembered={len(self._hashes)}>"

    def token(self, secret: str, *, account: str = "") -> Token:
        """Return the token, which must be of `account` where one is named.

        Raises Unauthenticated, WrongAccount, AccountBlocked.
        """
        known = self._hashes.get(secret)
        token = (self._tokens.get(known) if known else None) or self._find(secret)
        owner = self._accounts.get(token.account)
        if owner is None:  # a deleted account's tokens open nothing
            raise Unauthenticated("Authentication error")
        if 0 < token.expires_at_ms <= self._clock.unix_ms():
            raise Unauthenticated("Authentication error")
        if account and account != token.account:
            raise WrongAccount(f"the token is not for account {account[:64]}")
        if owner.blocked:
            raise AccountBlocked(f"account {owner.id} is blocked")
        return token

    def _find(self, secret: str) -> Token:
        """Return the token of a secret that has not been seen, or whose token is gone."""
        self._hashes.pop(secret, None)
        known = token_hash(secret)
        token = self._tokens.get(known) if secret else None
        if token is None:  # and not kept: guesses would fill the memory
            raise Unauthenticated("Authentication error")
        if len(self._hashes) >= MOST_HASHES:
            self._hashes.clear()
        self._hashes[secret] = known
        return token


def bearer(authorization: str | None) -> str:
    """Return the token of an Authorization header, empty where there is none."""
    scheme, _, secret = (authorization or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
