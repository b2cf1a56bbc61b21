"""What is set for Kafka; where, is said by the settings of analytics that begin with `kafka_`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from ssl import SSLError
from typing import Any, Literal

from services.analytics.ports import StoreError

Security = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """The settings, by their names without the prefix; docs/settings.md says what they mean."""

    servers: str
    inference_topic: str
    lifecycle_topic: str
    create_topics: bool
    partitions: int
    replication: int
    batch_bytes: int
    request_seconds: float
    write_seconds: float
    security: Security
    mechanism: Mechanism
    user: str
    password_file: Path | None
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    group: str
    session_seconds: float
    commit_seconds: float
    fetch_bytes: int

    @property
    def topics(self) -> tuple[str, str]:
        """Return the names of both topics."""
        return self.inference_topic, self.lifecycle_topic


def kafka_config(settings: object) -> KafkaConfig:
    """Take Kafka's settings out of those of analytics."""
    names = [field.name for field in fields(KafkaConfig)]
    return KafkaConfig(**{name: getattr(settings, f"kafka_{name}") for name in names})


def connection(config: KafkaConfig) -> Mapping[str, Any]:
    """Return what every client of Kafka's is made with; reads files, so that they may change.

    StoreError: what does not fit together, or cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": config.servers,
        "client_id": "constellation-analytics",
        "request_timeout_ms": round(config.request_seconds * 1000),
        "security_protocol": config.security,
    }
    if config.security.endswith("SSL"):
        options["ssl_context"] = _tls(config)
    if config.security.startswith("SASL"):
        options["sasl_mechanism"] = config.mechanism
        options["sasl_plain_username"] = config.user
        options["sasl_plain_password"] = _password(config)
    return options


def _password(config: KafkaConfig) -> str:
    if not config.user or config.password_file is None:
        raise StoreError(
            f"kafka_security is {config.security}: expected kafka_user and kafka_password_file"
        )
    try:
        return config.password_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"kafka_password_file {config.password_file}: {error}") from error


def _tls(config: KafkaConfig) -> Any:
    from aiokafka.helpers import create_ssl_context

    if (config.cert_file is None) is not (config.key_file is None):
        raise StoreError("kafka_cert_file and kafka_key_file: expected both or none")
    try:
        return create_ssl_context(
            cafile=config.ca_file, certfile=config.cert_file, keyfile=config.key_file
        )
    except (OSError, SSLError) as error:
        files = ", ".join(str(each) for each in (config.ca_file, config.cert_file) if each)
        raise StoreError(f"kafka_ca_file, kafka_cert_file ({files}): {error}") from error
