"""What `constellation account` and `constellation token` print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from libs.common.world_map import SCOPES, Account, Token

SHOWN = 12  # digits of a token's hash: its id


def account_table(accounts: Iterable[Account], used: Mapping[str, float]) -> str:
    """Return a line per account, by name."""
    rows = [("id", "name", "state", "neurons today", "of")]
    for each in sorted(accounts, key=lambda each: (each.name, each.id)):
        state = "blocked" if each.blocked else "open"
        today = _used(each, used.get(each.id, 0.0))
        rows.append((each.id, each.name or "-", state, today, _number(each.neurons_per_day)))
    return table(rows)


def one_account(account: Account, *, used: float, tokens: int) -> str:
    """Return all that there is of an account."""
    per_day, today = _number(account.neurons_per_day), _used(account, used)
    rows = [
        ("id", account.id),
        ("name", account.name or "-"),
        ("state", "blocked" if account.blocked else "open"),
        ("created", _date(account.created_at_ms)),
        ("tokens", str(tokens)),
        (
            "neurons per day",
            f"{per_day} (used today: {today})",
        ),
        ("tokens per minute", _number(account.tokens_per_minute)),
    ]
    rates = sorted(account.requests_per_minute.items())
    rows += [(f"{task} per minute", str(rate)) for task, rate in rates]
    if not rates:
        rows.append(("requests per minute", "no limit"))
    return table(rows)


def token_table(tokens: Iterable[Token], accounts: Mapping[str, Account], *, now_ms: int) -> str:
    """Return a line per token; of its hash only what tells it from others."""
    rows = [("id", "account", "name", "scopes", "models", "created", "expires")]
    for each in sorted(tokens, key=lambda each: (each.account, each.created_at_ms, each.hash)):
        owner = accounts.get(each.account)
        scopes = "all" if set(each.scopes) == set(SCOPES) else ",".join(each.scopes)
        expired = 0 < each.expires_at_ms <= now_ms
        expires = "expired" if expired else _date(each.expires_at_ms, never="never")
        who = (each.hash[:SHOWN], owner.name if owner else each.account, each.name or "-")
        what = (scopes, ",".join(each.models) or "all")
        rows.append((*who, *what, _date(each.created_at_ms), expires))
    return table(rows)


def _used(account: Account, neurons: float) -> str:
    """Return what was used today, which is counted only where there is a limit."""
    return f"{neurons:.1f}" if account.neurons_per_day or neurons else "-"


def _number(limit: float) -> str:
    return f"{limit:g}" if 0 < limit < 1e6 else f"{limit:.0f}" if limit else "no limit"


def _date(at_ms: int, never: str = "-") -> str:
    if not at_ms:
        return never
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of one width each."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(line + "\n" for line in lines)
