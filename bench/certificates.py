"""A certificate for 127.0.0.1, made for one run."""

from __future__ import annotations

from pathlib import Path

from bench.processes import NotThere


def certificate(folder: Path) -> tuple[str, str, str]:
    """Write one; returns the files of the server, its key, and the authority."""
    try:
        import trustme
    except ImportError as error:
        raise NotThere(f"no certificate for TLS: {error}; `make setup` installs it") from error
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = folder / "server.pem", folder / "server.key", folder / "authority.pem"
    for at, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(files[0]), append=at > 0)
    issued.private_key_pem.write_to_path(str(files[1]))
    authority.cert_pem.write_to_path(str(files[2]))
    return str(files[0]), str(files[1]), str(files[2])
