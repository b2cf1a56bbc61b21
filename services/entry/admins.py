"""Who sees more than its own account: operators, by the accounts that the setting names."""

from __future__ import annotations

from libs.common.world_map import Token


class Admins:
    """Tells operators' tokens from customers'.

    The scope `admin` alone does not do: it lets an account delete what is its own.
    """

    def __init__(self, accounts: str) -> None:
        """Take the operators' accounts, by id, with commas between them."""
        self._accounts = frozenset(each.strip() for each in accounts.split(",") if each.strip())

    def __repr__(self) -> str:
        return f"<Admins {','.join(sorted(self._accounts)) or 'nobody'}>"

    def see_all(self, token: Token) -> bool:
        """Whether a token may see what all accounts do."""
        return "admin" in token.scopes and token.account in self._accounts
