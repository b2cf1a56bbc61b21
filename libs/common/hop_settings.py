"""Settings of a service that speaks with others of ours, and where they stand for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from libs.common.clients.caller import Caller
from libs.common.hop_tls import HopTls, check_readable, hop_tls
from libs.common.rpc import CannotListen

LEAST: Final = 16  # characters: fewer are soon guessed
_TOKEN: Final = re.compile(rf"[\x21-\x7e]{{{LEAST},}}")

FOR_ALL: Final = {  # variables that count where a service's own say nothing
    "hop_cert": "CONSTELLATION_HOP_CERT",
    "hop_key": "CONSTELLATION_HOP_KEY",
    "hop_ca": "CONSTELLATION_HOP_CA",
    "rpc_token": "CONSTELLATION_RPC_TOKEN",
    "rpc_token_file": "CONSTELLATION_RPC_TOKEN_FILE",
}


@dataclass(frozen=True, kw_only=True)
class HopSettings:
    """Who the service is to the others of ours, and whom it trusts."""

    hop_cert: Path | None = None
    """PEM file with [this service's certificate](security.md); with the next two, all that our
    services say to one another over TCP is encrypted, and both sides show theirs."""
    hop_key: Path | None = None
    """PEM file with the key of `hop_cert`."""
    hop_ca: Path | None = None
    """PEM file with the authority that certificates of the others must be of."""
    rpc_token: str = field(default="", repr=False)
    """What calls of control and usage over TCP must carry [where there is no
    TLS](security.md#a-token-instead), the same for all services; empty: nothing."""
    rpc_token_file: Path | None = None
    """A file that has it, in place of `rpc_token`."""

    @property
    def hop_tls(self) -> HopTls | None:
        """Return the files of mutual TLS, None where it is not set up. CannotListen."""
        return hop_tls(self.hop_cert, self.hop_key, self.hop_ca)

    @property
    def caller(self) -> Caller:
        """Return who we are to control and usage. CannotListen."""
        return Caller(tls=self.hop_tls, token=self.token_of_rpcs)

    @property
    def token_of_rpcs(self) -> str:
        """Return the token, from wherever it is. CannotListen, which never tells it."""
        name, token = "rpc_token", self.rpc_token
        if self.rpc_token_file is not None:
            if token:
                raise CannotListen("rpc_token and rpc_token_file: expected one of them")
            name, token = f"rpc_token_file {self.rpc_token_file}", _read(self.rpc_token_file)
        if (token or self.rpc_token_file) and not _TOKEN.fullmatch(token):
            raise CannotListen(f"{name}: expected printable ASCII without spaces, {LEAST} or more")
        return token


def _read(path: Path) -> str:
    check_readable(path)
    return path.read_text("utf-8", "replace").strip()


def caller(env: Mapping[str, str]) -> Caller:
    """Return who a command is to control and usage, by the variables for all. CannotListen."""
    said = {name: told for name, (_, told) in for_all(env).items()}
    token = said.pop("rpc_token", "")
    return HopSettings(rpc_token=token, **{name: Path(each) for name, each in said.items()}).caller


def for_all(env: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return settings by name: the variable that gives them to all services, and what it says."""
    return {name: (each, env[each]) for name, each in FOR_ALL.items() if env.get(each)}
