"""When the certificates of a process expire, as its metrics tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.hop_settings import HopSettings


class CertificateExpiry(Collector):
    """Reads the files at each scrape, as they may be renewed; without any it shows nothing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._hops: set[tuple[Path, Path]] = set()  # a certificate, and its authorities
        self._https: set[Path] = set()
        registry.register(self)

    def __repr__(self) -> str:
        return f"<CertificateExpiry of {len(self._hops)} hops, {len(self._https)} https>"

    def watch(self, config: HopSettings, *, https: Path | None = None) -> None:
        """Tell of the certificates of a service, too."""
        if config.hop_cert and config.hop_ca:
            self._hops.add((config.hop_cert, config.hop_ca))
        if https:
            self._https.add(https)

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields."""
        yield _family()

    def collect(self) -> Iterator[Metric]:
        """Show of each kind the first that expires; what cannot be read is left out."""
        found: dict[str, list[datetime]] = {"hop": [], "authority": [], "https": []}
        for cert, authorities in self._hops:
            mine, theirs = _read(cert)[:1], _read(authorities)
            found["hop"] += [ends for _, _, ends in mine]
            # Of several that are trusted, it is its own without which nobody answers it.
            issuers = {issuer for _, issuer, _ in mine}
            found["authority"] += [ends for subject, _, ends in theirs if subject in issuers]
        for path in self._https:
            found["https"] += [ends for _, _, ends in _read(path)]
        family = _family()
        for kind, ends in found.items():
            if ends:
                family.add_metric((kind,), min(ends).timestamp())
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "constellation_certificate_expiry_timestamp_seconds",
        "When a certificate expires: that of `hop_cert` (`hop`), the `authority` that it is of, "
        "that of `tls_cert` (`https`).",
        labels=("kind",),
    )


def _read(path: Path) -> list[tuple[str, str, datetime]]:
    """Return subject, issuer and end of all certificates in a file; none where it is broken."""
    from cryptography import x509  # it takes a moment to load, and most have none

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [
        (each.subject.rfc4514_string(), each.issuer.rfc4514_string(), each.not_valid_after_utc)
        for each in found
    ]
