"""Numbers with bounds, for the catalog and the settings: checked as they are read."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator

from libs.common.addresses import checked_address, checked_host_port

MOST: Final = 2**32 - 1  # what the protos' uint32 holds
LONGEST_S: Final = 30 * 24 * 3600  # a month: as milliseconds it is still a uint32


def http_url(text: str) -> str:
    """Check an address that can be posted to, or nothing."""
    if text and not re.fullmatch(r"https?://[^/\s]+\S*", text):
        raise ValueError("expected http(s)://host[:port][/path]")
    return text


def database_url(text: str) -> str:
    """Check the address of a database over HTTP."""
    if not re.fullmatch(r"https?://[^/\s@?#]+/[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("expected http(s)://host[:port]/database, without user and password")
    try:
        port = urlsplit(text).port
    except ValueError:  # whose text has what stands there, which may be a password
        port = 0
    if port == 0:
        raise ValueError("expected a port from 1 to 65535")
    return text


AtLeastZero = Annotated[int, Ge(0), Le(MOST)]
FewOrNone = Annotated[int, Ge(0), Le(16)]
Niceness = Annotated[int, Ge(0), Le(19)]  # to be less nice takes a privilege
AtLeastOne = Annotated[int, Ge(1), Le(MOST)]
UnixMs = Annotated[int, Ge(0), Le(2**63 - 1)]
FileSize = Annotated[int, Ge(0), Le(2**63 - 1)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
Share = Annotated[float, Gt(0), Le(1)]
ShareOrNone = Annotated[float, Ge(0), Le(1)]  # 0: nothing of it
Factor = Annotated[float, Ge(1), Lt(math.inf)]
Seconds = Annotated[float, Gt(0), Le(LONGEST_S)]
SecondsOrNone = Annotated[float, Ge(0), Le(LONGEST_S)]  # 0: not at all
InsertSeconds = Annotated[float, Gt(0), Le(300)]  # half of what a store takes for settled
HttpUrl = Annotated[str, AfterValidator(http_url)]  # empty: none
HostPort = Annotated[str, AfterValidator(checked_host_port)]  # empty: nowhere
Address = Annotated[str, AfterValidator(checked_address)]  # or unix:/path; empty: nowhere
DatabaseUrl = Annotated[str, AfterValidator(database_url)]
MessageBytes = Annotated[int, Ge(1), Le(2**31 - 1)]  # what gRPC's own bound holds
