"""Who may call what of control: the roles of certificates, by method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from libs.common.errors import WrongRole
from libs.common.identities import refusal

CONTROL: Final = "/constellation.v1.ControlService/"
FINETUNES: Final = "/constellation.v1.FinetuneService/"
REPORTERS: Final = ("entry", "server", "node")
CALLERS: Final = {
    CONTROL + "Watch": (*REPORTERS, "operator"),
    CONTROL + "Report": REPORTERS,
    CONTROL + "Put": ("operator",),
    CONTROL + "Delete": ("operator",),
    CONTROL + "Explain": ("entry", "operator"),
    CONTROL + "Status": ("operator",),
    FINETUNES + "CreateFinetune": ("entry", "operator"),
    FINETUNES + "UploadAsset": ("entry", "operator"),
    FINETUNES + "DeleteFinetune": ("entry", "operator"),
    FINETUNES + "FetchAsset": ("node", "operator"),
}


def check_reporter(kind: str, uris: Iterable[str]) -> None:
    """Raise WrongRole where a certificate is not of the role that it reports as."""
    if why := refusal(uris, (kind,), f"report as a {kind}"):
        raise WrongRole(why)
