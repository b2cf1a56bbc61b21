"""Who calls: a token's account, from the copy of control's tokens that entry holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from libs.common.clock import Clock
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
from libs.common.world_map import Account, Scope, Token
from services.entry.clients import Clients

MOST_HASHES = 10_000
LONGEST_KEPT: Final = 256  # a header may have any number of spaces in it


class Auth:
    """Looks tokens up; a revoked one is unknown as soon as the world says so.

    Of what it has seen it keeps hashes only, never a verdict: whether a token exists, has
    expired or is of a blocked account is read from the world each time.
    """

    def __init__(self, *, world: World, clock: Clock, clients: Clients | None = None) -> None:
        """`clients` bounds the wrong tokens of an address."""
        self._clock = clock
        self._clients = clients
        self._world = world
        # A world changes its tables, and never puts others in their place.
        self._tokens = world.table(Token)
        self._accounts = world.table(Account)
        # By Authorization header, of tokens that there are. Looking one up tells nothing of the
        # others: a dict compares texts only where their hashes are the same, and those are keyed
        # anew in every process, so that no part of a secret can be found out by how long its
        # refusal takes.
        self._hashes: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Auth tokens={len(self._tokens)} remembered={len(self._hashes)}>"

    def caller(
        self,
        headers: Mapping[str, str],
        *,
        account: str = "",
        scope: Scope = "run",
        peer: str = "",
    ) -> Token:
        """Return the token of a request's headers, which must be of `account` where one is named.

        `peer` is the address that it came from. Raises Unauthenticated, WrongAccount,
        AccountBlocked, ScopeMissing, TooManyWrongTokens, and Unavailable where nothing has come
        from control yet: then no token is known, nor known to be wrong.
        """
        try:
            token = self._tokens[self._hashes[headers["authorization"]]]
        except KeyError:  # it has not been seen, or its token is gone
            token = self._look_up(headers, peer)
        owner = self._accounts.get(token.account)
        if owner is None:  # a deleted account's tokens open nothing
            raise self._unknown(headers, peer)
        if 0 < token.expires_at_ms <= self._clock.unix_ms():
            raise self._unknown(headers, peer)
        if account and account != token.account:
            raise WrongAccount(f"the token is not for account {account[:64]}")
        if owner.blocked:
            raise AccountBlocked(f"account {owner.id} is blocked")
        if scope not in token.scopes:
            raise ScopeMissing(f"the token lacks the scope {scope}")
        return token

    def _look_up(self, headers: Mapping[str, str], peer: str) -> Token:
        """Find the token of these headers; what they said is remembered if there is one."""
        if self._clients is not None:
            self._clients.check(peer, headers)
        said = headers.get("authorization", "")
        self._hashes.pop(said, None)
        secret = bearer(said)
        token = self._find(secret or headers.get("x-auth-key", ""))
        if token is None:  # and not kept: guesses would fill the memory
            raise self._unknown(headers, peer)
        if secret and len(said) <= LONGEST_KEPT:
            if len(self._hashes) >= MOST_HASHES:
                self._hashes.clear()
            self._hashes[said] = token.hash
        return token

    def _find(self, secret: str) -> Token | None:
        return self._tokens.get(token_hash(secret)) if secret else None

    def _unknown(self, headers: Mapping[str, str], peer: str) -> RequestError:
        if not self._world.complete:
            return Unavailable("nothing has come from control yet")
        if self._clients is not None:
            self._clients.wrong_token(peer, headers)
        return Unauthenticated("Authentication error")


def bearer(authorization: str) -> str:
    """Return the token of an Authorization header, empty where there is none."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
