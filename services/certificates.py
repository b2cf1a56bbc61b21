"""A folder of certificates: a local authority, and below it what each of our processes shows.

`authority/` has the authority's certificate and key. Any other folder is one process's, to be
mounted as it is: cert.pem, key.pem, and ca.pem, whom it trusts.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from libs.common.errors import BadInput
from libs.common.identities import Identity, identity

AUTHORITY: Final = "authority"
CERT, KEY, CA, OLD = "cert.pem", "key.pem", "ca.pem", "old.pem"
SKEW: Final = timedelta(minutes=5)  # by which another machine's clock may be behind
Key: TypeAlias = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a certificate is to say."""

    identities: tuple[Identity, ...]
    hosts: tuple[str, ...]
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A process's certificate, as it is in its folder."""

    folder: Path
    identities: tuple[Identity, ...]
    hosts: tuple[str, ...]
    begins: datetime
    ends: datetime
    is_of_authority: bool  # of that of now, rather than of one before it
    trouble: str = ""  # why it cannot be used as it is, with the file

    @property
    def days(self) -> int:
        """Return how long it holds from its beginning."""
        return max(1, round((self.ends - self.begins) / timedelta(days=1)))

    def left(self, now: datetime) -> timedelta:
        """Return how long it still holds; negative once it has expired."""
        return self.ends - now


class Certificates:
    """The folder, whose keys and certificates are their owner's alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = folder / AUTHORITY

    def __repr__(self) -> str:
        return f"<Certificates {self.folder}>"

    @property
    def has_authority(self) -> bool:
        """Whether there is one."""
        return (self._authority / CERT).exists()

    def authority(self) -> x509.Certificate:
        """Return the certificate of the authority. BadInput: there is none."""
        if not self.has_authority:
            raise BadInput(
                f"{self.folder}: no authority there; `constellation certs init` makes one"
            )
        return _read(self._authority / CERT)

    def make_authority(self, *, days: int, now: datetime) -> x509.Certificate:
        """Make one; that before it is still trusted, until `drop_old`."""
        before = self._trusted() if self.has_authority else ()
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Constellation authority {now:%Y-%m-%d} {secrets.token_hex(4)}")
        made = (
            _builder(name, name, key, now=now, ends=now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        if before:
            _write(self._authority / OLD, _pem(before))
        _write(self._authority / KEY, _key_pem(key))
        _write(self._authority / CERT, _pem((made,)))
        self._spread()
        return made

    def drop_old(self) -> None:
        """Trust the authority of now alone. BadInput: another one's are in use."""
        self.authority()
        if late := [each.folder.name for each in self.all() if not each.is_of_authority]:
            raise BadInput(
                f"{', '.join(late)}: of the authority before; `constellation certs rotate` first"
            )
        (self._authority / OLD).unlink(missing_ok=True)
        self._spread()

    def issue(self, folder: str, wanted: Wanted, *, now: datetime) -> Found:
        """Make a key and a certificate in a folder, in place of those that may be there."""
        authority, signs = self.authority(), _read_key(self._authority / KEY)
        if signs.public_key() != authority.public_key():
            raise BadInput(f"{self._authority / KEY}: not the key of {CERT} beside it")
        ends = min(now + timedelta(days=wanted.days), authority.not_valid_after_utc)
        if ends <= now:
            raise BadInput(
                f"{self._authority}: the authority expired on {ends:%Y-%m-%d}; "
                "`constellation certs rotate --authority` makes another"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(wanted.identities[0].name if wanted.identities else folder)
        made = (
            _builder(subject, authority.subject, key, now=now, ends=ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(_both_ways(), critical=False)
            .add_extension(_names(wanted), critical=False)
            .add_extension(_issued_by(authority), critical=False)
            .sign(signs, hashes.SHA256())
        )
        there = self.folder / folder
        _write(there / CA, _pem(self._trusted()))
        _write(there / KEY, _key_pem(key))
        _write(there / CERT, _pem((made,)))
        return self.found(folder)

    def found(self, folder: str) -> Found:
        """Return what is in a process's folder. BadInput: nothing, or nothing readable."""
        there = self.folder / folder
        if not (there / CERT).exists():
            raise BadInput(f"{there}: no certificate there; `constellation certs show` tells")
        read, authority = _read(there / CERT), self.authority()
        try:
            names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            is_of_authority = _is_by(read, authority)
        except (ValueError, x509.ExtensionNotFound) as error:
            raise BadInput(f"{there / CERT}: not of an authority of ours: {error}") from error
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        addresses = names.get_values_for_type(x509.IPAddress)
        return Found(
            folder=there,
            identities=tuple(each for uri in uris if (each := identity(uri))),
            hosts=(*names.get_values_for_type(x509.DNSName), *map(str, addresses)),
            begins=read.not_valid_before_utc + SKEW,
            ends=read.not_valid_after_utc,
            is_of_authority=is_of_authority,
            trouble=self._trouble(there, read),
        )

    def _trouble(self, there: Path, read: x509.Certificate) -> str:
        """Say why a process cannot use what is in its folder, though its certificate is whole."""
        try:
            if _read_key(there / KEY).public_key() != read.public_key():
                return f"{there / KEY}: not the key of {CERT}"
            if _content(there / CA) != _pem(self._trusted()):
                return f"{there / CA}: not the authorities that are trusted"
        except BadInput as error:
            return str(error)
        return ""

    def all(self) -> list[Found]:
        """Return the certificates of all processes, by their folders' names."""
        return self.look()[0]

    def look(self) -> tuple[list[Found], dict[str, str]]:
        """Return them, and of the folders whose certificate cannot be read, why."""
        self.authority()  # without one nothing can be said of the others
        good: list[Found] = []
        bad: dict[str, str] = {}
        for name in sorted(each.parent.name for each in self.folder.glob(f"*/{CERT}")):
            try:
                if name != AUTHORITY:
                    good.append(self.found(name))
            except BadInput as error:
                bad[name] = str(error)
        return good, bad

    def _trusted(self) -> tuple[x509.Certificate, ...]:
        """Return the authority of now, and those before it that are still trusted."""
        old = self._authority / OLD
        before = x509.load_pem_x509_certificates(old.read_bytes()) if old.exists() else []
        return (self.authority(), *before)

    def _spread(self) -> None:
        """Let all processes trust whom we do."""
        for path in self.folder.glob(f"*/{CA}"):
            _write(path, _pem(self._trusted()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, *, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # the longest there is


def _names(wanted: Wanted) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(str(each)) for each in wanted.identities
    ]
    for host in wanted.hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _both_ways() -> x509.ExtendedKeyUsage:
    """Say that its owner both answers and calls."""
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued_by(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _is_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    ours = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return found.key_identifier == ours.digest


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_content(path))
    except ValueError as error:
        raise BadInput(f"{path}: no certificate in PEM: {error}") from error


def _read_key(path: Path) -> Key:
    try:
        key = serialization.load_pem_private_key(_content(path), password=None)
    except (ValueError, TypeError):  # whose text could tell of the key
        raise BadInput(f"{path}: no key in PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadInput(f"{path}: expected a key on an elliptic curve")
    return key


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    """Put a file in place as a whole, readable by its owner alone from its first byte on."""
    for folder in (path.parent.parent, path.parent):  # a mode is that of the last one made alone
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    new.replace(path)


def expiring(found: Sequence[Found], within: timedelta, now: datetime) -> list[Found]:
    """Return those that expire so soon, are of an authority that is to go, or cannot be used."""
    return [
        each
        for each in found
        if each.left(now) < within or not each.is_of_authority or each.trouble
    ]
