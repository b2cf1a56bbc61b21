"""Certificates for hops between processes of one test."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from libs.common.hop_tls import HopTls
from libs.common.identities import Identity
from services.certificates import Certificates, Wanted


def certified(folder: Path) -> HopTls:
    """Make a CA, and one certificate for both sides."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    tls = HopTls(cert=folder / "cert.pem", key=folder / "key.pem", ca=folder / "ca.pem")
    authority.cert_pem.write_to_path(tls.ca)
    certificate.private_key_pem.write_to_path(tls.key)
    certificate.cert_chain_pems[0].write_to_path(tls.cert)
    return tls


class Authority:
    """Issues what `constellation certs` does, for hops to localhost."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder)
        self.certificates.make_authority(days=30, now=datetime.now(UTC))

    def issue(self, role: str, *, days_ago: int = 0) -> HopTls:
        """Return the files of somebody in a role, whose certificate holds for a day."""
        who = (Identity(role, "it"),) if role else ()
        wanted = Wanted(identities=who, hosts=("localhost", "127.0.0.1"), days=1)
        now = datetime.now(UTC) - timedelta(days=days_ago)
        found = self.certificates.issue(f"{role or 'nobody'}-{days_ago}", wanted, now=now)
        return files_in(found.folder)

    def renew(self) -> None:
        """Make all keys and certificates anew."""
        for each in self.certificates.all():
            wanted = Wanted(identities=each.identities, hosts=each.hosts, days=1)
            self.certificates.issue(each.folder.name, wanted, now=datetime.now(UTC))

    def replace(self) -> None:
        """Have another authority, beside that of now; what it issued is kept in `before`."""
        folder = self.certificates.all()[0].folder
        shutil.copytree(folder, folder.parent.with_suffix(".before"))
        self.certificates.make_authority(days=30, now=datetime.now(UTC))

    def drop_old(self) -> None:
        """Trust the authority of now alone."""
        self.certificates.drop_old()


def files_in(folder: Path) -> HopTls:
    """Return the files of a process, by the names that `constellation certs` gives them."""
    return HopTls(cert=folder / "cert.pem", key=folder / "key.pem", ca=folder / "ca.pem")
