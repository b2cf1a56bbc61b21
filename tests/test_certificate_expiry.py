"""When certificates expire, as metrics tell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from libs.common.hop_settings import HopSettings
from services.certificate_expiry import CertificateExpiry
from tests.certificates import Authority

NAME = "constellation_certificate_expiry_timestamp_seconds"
DAY_S = 86_400


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certs")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def days_left(registry: CollectorRegistry, kind: str) -> float | None:
    at = registry.get_sample_value(NAME, {"kind": kind})
    return None if at is None else round((at - time.time()) / DAY_S, 1)


def test_it_tells_of_a_hop_of_its_authority_and_of_https(
    authority: Authority, registry: CollectorRegistry
) -> None:
    files = authority.issue("entry")
    config = HopSettings(hop_cert=files.cert, hop_key=files.key, hop_ca=files.ca)

    CertificateExpiry(registry).watch(config, https=files.cert)

    assert [days_left(registry, kind) for kind in ("hop", "authority", "https")] == [1, 30, 1]


def test_a_renewed_certificate_is_told_at_the_next_scrape(
    authority: Authority, registry: CollectorRegistry
) -> None:
    files = authority.issue("entry", days_ago=2)
    config = HopSettings(hop_cert=files.cert, hop_key=files.key, hop_ca=files.ca)
    CertificateExpiry(registry).watch(config)
    assert days_left(registry, "hop") == -1

    authority.renew()

    assert days_left(registry, "hop") == 1


def test_an_authority_that_issued_another_one_is_not_waited_for(
    authority: Authority, registry: CollectorRegistry
) -> None:
    authority.issue("entry")
    authority.replace()
    authority.renew()
    files = authority.issue("entry")
    files.ca.write_bytes(files.cert.read_bytes() + files.ca.read_bytes())  # one that ends earlier

    config = HopSettings(hop_cert=files.cert, hop_key=files.key, hop_ca=files.ca)
    CertificateExpiry(registry).watch(config)

    assert days_left(registry, "authority") == 30


def test_without_certificates_or_with_broken_ones_there_is_nothing(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    broken = tmp_path / "cert.pem"
    broken.write_text("no certificate")
    expiry = CertificateExpiry(registry)

    expiry.watch(HopSettings())
    expiry.watch(HopSettings(hop_cert=broken, hop_key=broken, hop_ca=tmp_path / "none"))

    assert [days_left(registry, kind) for kind in ("hop", "authority", "https")] == [None] * 3
