"""Questions for usage as a query string has them, each parameter checked by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from libs.common.envelope import RequestSource
from libs.common.errors import BadInput, RequestError, WrongAccount
from libs.common.moments import read_moment
from libs.common.usage import FEW, MOST_RECENT, RecentQuery, UsageGroup, UsageQuery
from libs.common.usage_texts import groups_of, position
from libs.common.world_map import Token
from services.entry.admins import Admins
from services.entry.bad_input import bad_input

T = TypeVar("T")
Query = Mapping[str, str]
ALL: Final = "*"  # every account
FORMATS: Final = ("json", "csv")
SOURCES: Final = tuple(source.name.lower() for source in RequestSource)
LONGEST: Final = 512  # characters of a name
USAGE: Final = frozenset(
    [
        "account",
        "model",
        "finetune",
        "source",
        "error_code",
        "colo",
        "from",
        "to",
        "group_by",
        "format",
    ]
)
RECENT: Final = frozenset(["account", "model", "limit", "before"])


def usage_query(query: Query, account: str) -> UsageQuery:
    """Return what is asked of one account, or of all where it is empty. Raises BadInput."""
    _only(query, USAGE)
    source = _name(query, "source")
    if source and source not in SOURCES:
        raise bad_input(["source"], f"expected one of {', '.join(SOURCES)}, got {source[:40]!r}")
    return UsageQuery(
        account=account,
        model=_name(query, "model"),
        finetune=_name(query, "finetune"),
        source=source,
        colo=_name(query, "colo"),
        error_code=_read(query, "error_code", _number, "a whole number"),
        from_ms=_moment(query, "from"),
        to_ms=_moment(query, "to"),
        group_by=groups_of(query["group_by"], pointer="/group_by")
        if query.get("group_by")
        else (UsageGroup.MODEL,),
    )


def recent_query(query: Query, account: str) -> RecentQuery:
    """Return what is asked of one account, or of all where it is empty. Raises BadInput."""
    _only(query, RECENT)
    limit = _read(query, "limit", _number, "a whole number")
    if limit is not None and not 1 <= limit <= MOST_RECENT:
        raise bad_input(["limit"], f"expected 1 to {MOST_RECENT}, got {limit}")
    return RecentQuery(
        account=account,
        model=_name(query, "model"),
        limit=FEW if limit is None else limit,
        before=position(query.get("before", "")),
    )


def wants_csv(query: Query, accept: str) -> bool:
    """Whether the answer is to be CSV. Raises BadInput."""
    told = query.get("format", "")
    if told and told not in FORMATS:
        raise bad_input(["format"], f"expected one of {', '.join(FORMATS)}, got {told[:40]!r}")
    return told == "csv" or (not told and "text/csv" in accept.lower())


def account_of(query: Query, token: Token, admins: Admins) -> str:
    """Return whose usage a token may see and asks for; empty is all. Raises WrongAccount."""
    asked = query.get("account") or token.account
    if asked != token.account and not admins.see_all(token):
        raise WrongAccount("the token is for its own account alone", pointer="/account")
    return "" if asked == ALL else asked


def own_names(error: RequestError) -> RequestError:
    """Return an error of analytics with the names that parameters have here."""
    names = {"/to_ms": "/to", "/from_ms": "/from"}
    if error.pointer not in names:
        return error
    pointer = names[error.pointer]
    return BadInput(f"{pointer.lstrip('/')}: {error}", pointer=pointer)


def _only(query: Query, known: frozenset[str]) -> None:
    """Refuse what is not known: with a filter misspelt, a sum would be too large."""
    for name in query:
        if name not in known:
            raise bad_input([name[:100]], f"unknown; there are {', '.join(sorted(known))}")


def _name(query: Query, name: str) -> str:
    value = query.get(name, "")
    if len(value) > LONGEST or "\0" in value:
        raise bad_input([name], f"expected a name of at most {LONGEST} characters")
    return value


def _moment(query: Query, name: str) -> int:
    wanted = "RFC 3339 such as 2026-11-28T01:00:00Z, or milliseconds since 1970"
    return _read(query, name, read_moment, wanted) or 0


def _read(query: Query, name: str, read: Callable[[str], T], wanted: str) -> T | None:
    said = query.get(name, "")
    try:
        return read(said) if said else None
    except ValueError:
        raise bad_input([name], f"expected {wanted}, got {said[:40]!r}") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(text)
    return int(text)
