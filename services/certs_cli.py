"""`constellation certs`: a local authority, and a certificate for each process of a cluster."""

from __future__ import annotations

import argparse
import ipaddress
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from libs.common.errors import BadInput
from libs.common.identities import ROLES, Identity
from services.accounts_tables import table
from services.arguments import Add, read_folder

if TYPE_CHECKING:
    from services.certificates import Certificates, Found

AUTHORITY_DAYS: Final = 3650
DAYS: Final = 90
SOON_DAYS: Final = 30
MOST_DAYS: Final = 36_500
HOSTS: Final = ("localhost", "127.0.0.1")
SERVICES: Final = {  # whose process has several roles
    "edge": ("entry", "server"),
    "scheduler": ("control", "scheduler"),
}
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_HOST: Final = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?|::1")


def add_commands(commands: Any, add: Add) -> None:
    """Add the group; `add` makes a command with the flags that all have."""
    group = commands.add_parser("certs", help="certificates for mutual TLS between services")
    actions = group.add_subparsers(required=True, metavar="WHAT")
    init = _of(add(actions, "init", "make an authority, unless there is one", _init))
    _days(init, AUTHORITY_DAYS)
    issue = _of(add(actions, "issue", "make a key and a certificate of a process", _issue))
    what = ", ".join(dict.fromkeys((*ROLES, *SERVICES)))
    issue.add_argument("--service", required=True, type=_service, help=what)
    issue.add_argument("--name", required=True, type=_name, help="which one of them")
    about = "name or IP by which others reach it, repeatable; its name, localhost and 127.0.0.1"
    issue.add_argument("--host", action="append", type=_host, default=[], help=about)
    _days(issue, DAYS)
    _of(add(actions, "show", "what there is, and until when it holds", _show))
    about = "renew what expires soon, or what is named: new keys, the same names"
    rotate = _of(add(actions, "rotate", about, _rotate))
    rotate.add_argument("names", nargs="*", metavar="FOLDER", help="as `certs show` tells them")
    about = f"how soon: days until it expires ({SOON_DAYS})"
    rotate.add_argument("--within", type=_count, default=SOON_DAYS, metavar="DAYS", help=about)
    rotate.add_argument("--all", action="store_true", help="all of them, now")
    about = "first step of three: another authority; both are trusted, it issues from now on"
    rotate.add_argument("--authority", action="store_true", help=about)
    about = "last step, once all is issued anew and in place: trust the new authority alone"
    rotate.add_argument("--drop-old", action="store_true", help=about)


def _of(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    where = read_folder("certs")
    about = "the folder of the certificates (certs)"
    command.add_argument("--dir", type=read_folder, default=where, help=about)
    return command


def _days(command: argparse.ArgumentParser, usual: int) -> None:
    command.add_argument("--days", type=_count, default=usual, help=f"how long it holds ({usual})")


async def _init(arguments: argparse.Namespace) -> None:
    certs, now = _opened(arguments.dir), datetime.now(UTC)
    if certs.has_authority:
        _say(f"{_short(certs.folder)}: there is an authority, {_until(certs, now)}")
        return
    certs.make_authority(days=arguments.days, now=now)
    _say(f"{_short(certs.folder)}: made an authority, {_until(certs, now)}")


async def _issue(arguments: argparse.Namespace) -> None:
    from services.certificates import Wanted

    certs, now = _opened(arguments.dir), datetime.now(UTC)
    roles = SERVICES.get(arguments.service, (arguments.service,))
    wanted = Wanted(
        identities=tuple(Identity(role, arguments.name) for role in roles),
        hosts=tuple(dict.fromkeys(arguments.host or (arguments.name, *HOSTS))),
        days=arguments.days,
    )
    folder = f"{arguments.service}-{arguments.name}"
    before = _before(certs, folder)
    if before is not None and _fits(before, wanted.identities, wanted.hosts, now):
        _say(f"{_told(before, now)}: it is there")
        return
    _say(_told(certs.issue(folder, wanted, now=now), now))


def _before(certs: Certificates, folder: str) -> Found | None:
    """Return what is there and can be used; tell what cannot."""
    good, bad = certs.look()
    found = next((each for each in good if each.folder.name == folder), None)
    if trouble := bad.get(folder) or (found and found.trouble):
        _warn(f"{trouble}; it is made anew")
        return None
    return found


def _fits(
    found: Found, identities: Sequence[Identity], hosts: Sequence[str], now: datetime
) -> bool:
    """Whether a certificate says what is wanted, and will for a while."""
    says = set(found.identities) == set(identities) and set(found.hosts) == set(hosts)
    holds = found.left(now) > timedelta(days=min(SOON_DAYS, found.days / 3))
    return says and holds and found.is_of_authority


async def _show(arguments: argparse.Namespace) -> None:
    certs, now = _opened(arguments.dir), datetime.now(UTC)
    rows = [("folder", "says", "for", "until", "days left")]
    authority = certs.authority().not_valid_after_utc
    rows.append(("authority", "-", "-", *_ends(authority, now)))
    good, bad = certs.look()
    for each in good:
        says = " ".join(map(str, each.identities)) or "nobody"
        old = "" if each.is_of_authority else ", of the authority before"
        until, left = _ends(each.ends, now)
        rows.append((each.folder.name, says, " ".join(each.hosts), until, left + old))
    rows += [(name, "-", "-", "-", "cannot be read") for name in bad]
    for trouble in (*(each.trouble for each in good if each.trouble), *bad.values()):
        _warn(trouble)
    sys.stdout.write(table(rows))


async def _rotate(arguments: argparse.Namespace) -> None:
    from services.certificates import expiring

    certs, now = _opened(arguments.dir), datetime.now(UTC)
    if arguments.authority:
        certs.authority()
        certs.make_authority(days=AUTHORITY_DAYS, now=now)
        _say(f"{_short(certs.folder)}: made an authority, {_until(certs, now)}; {NEXT}")
        return
    if arguments.drop_old:
        certs.drop_old()
        _say(f"{_short(certs.folder)}: the authority of now is trusted alone")
        return
    good, bad = certs.look()
    if arguments.names:
        due = [certs.found(name) for name in dict.fromkeys(arguments.names)]
    else:
        within = timedelta(days=arguments.within)
        due = good if arguments.all else expiring(good, within, now)
    _renew(certs, due, now)
    if bad and not arguments.names:  # what they said is not known any more
        raise BadInput(f"{'; '.join(bad.values())}: `constellation certs issue` makes it anew")
    if not due:
        _say(f"{_short(certs.folder)}: nothing expires within {arguments.within} days")


def _renew(certs: Certificates, due: Sequence[Found], now: datetime) -> None:
    from services.certificates import Wanted

    for each in due:
        if each.trouble:
            _warn(f"{each.trouble}; it is made anew")
        wanted = Wanted(identities=each.identities, hosts=each.hosts, days=each.days)
        _say(_told(certs.issue(each.folder.name, wanted, now=now), now))


NEXT: Final = (
    "each ca.pem trusts that before, too: bring them to their places, then `certs rotate --all`"
)


def _opened(folder: Path) -> Certificates:
    from services.certificates import Certificates

    return Certificates(folder)


def _told(found: Found, now: datetime) -> str:
    who, hosts = " ".join(map(str, found.identities)), ", ".join(found.hosts)
    until, left = _ends(found.ends, now)
    return f"{_short(found.folder)}: {who} for {hosts}, until {until} ({left} days)"


def _until(certs: Certificates, now: datetime) -> str:
    until, left = _ends(certs.authority().not_valid_after_utc, now)
    return f"until {until} ({left} days)"


def _ends(ends: datetime, now: datetime) -> tuple[str, str]:
    return f"{ends:%Y-%m-%d}", "expired" if ends <= now else str((ends - now).days)


def _short(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _warn(text: str) -> None:
    sys.stderr.write(f"constellation: {text}\n")


def _service(text: str) -> str:
    known = dict.fromkeys((*ROLES, *SERVICES))
    if text not in known:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(known)}, got {text!r}")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        what = "letters, digits and -._ between them, at most 63"
        raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
    return text


def _host(text: str) -> str:
    """Read a host as a certificate has it: without port and brackets."""
    if not _HOST.fullmatch(text) or (":" in text and not _is_address(text)):
        raise argparse.ArgumentTypeError(f"expected a host name or an IP address, got {text!r}")
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"expected days, 1 to {MOST_DAYS}, got {text!r}")
    return int(text)
