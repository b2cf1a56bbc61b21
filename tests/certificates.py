"""Certificates for hops between processes of one test."""

from __future__ import annotations

from pathlib import Path

import trustme

from libs.common.hops import HopTls


def certified(folder: Path) -> HopTls:
    """Make a CA, and one certificate for both sides."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    tls = HopTls(cert=folder / "cert.pem", key=folder / "key.pem", ca=folder / "ca.pem")
    authority.cert_pem.write_to_path(tls.ca)
    certificate.private_key_pem.write_to_path(tls.key)
    certificate.cert_chain_pems[0].write_to_path(tls.cert)
    return tls
