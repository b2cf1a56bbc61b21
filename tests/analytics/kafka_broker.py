"""A real Apache Kafka of one broker, in a folder and on ports of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.random_ports import random_port

TOOLS = Path(__file__).parents[2] / ".tools/kafka"
# Little memory, few threads, and no time spent on making quick what runs for seconds.
JAVA = (
    "-Xms64M",
    "-Xmx512M",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)
USER, PASSWORD = "constellation", "a secret of the tests"

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
log.dirs={folder}/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
num.network.threads=1
num.io.threads=2
background.threads=1
num.recovery.threads.per.data.dir=1
"""


class Broker:
    """Starts, dies and comes back with what it had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        ports = {name: random_port() for name in ("plain", "secure", "controller")}
        self.servers = f"127.0.0.1:{ports['plain']}"
        self.secure_servers = f"127.0.0.1:{ports['secure']}"
        self.ca_file = folder / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
        (folder / "server.pem").write_bytes(pkcs8 + chain)
        (folder / "password").write_text(PASSWORD + "\n")
        self._properties = folder / "server.properties"
        self._properties.write_text(PROPERTIES.format(folder=folder, **ports))
        self._format()

    @staticmethod
    def is_there() -> bool:
        """Whether there is a Kafka here, and a Java for it."""
        return (TOOLS / ".ready").exists() and shutil.which("java") is not None

    def settings(self, prefix: str = "") -> dict[str, Any]:
        """Settings of analytics that lead to this broker, with topics of that prefix."""
        return {
            "kafka_servers": self.servers,
            "kafka_inference_topic": f"{prefix}inference",
            "kafka_lifecycle_topic": f"{prefix}lifecycle",
            "kafka_group": prefix or "constellation",
            "kafka_partitions": 3,
            "kafka_request_seconds": 5.0,
            "kafka_session_seconds": 1.0,
            "kafka_commit_seconds": 0.2,
        }

    def secure_settings(self, prefix: str) -> dict[str, Any]:
        """The same, by TLS and with a password."""
        return self.settings(prefix) | {
            "kafka_servers": self.secure_servers,
            "kafka_security": "SASL_SSL",
            "kafka_user": USER,
            "kafka_password_file": self.folder / "password",
            "kafka_ca_file": self.ca_file,
        }

    def start(self) -> None:
        """Return when it takes calls."""
        with (self.folder / "broker.log").open("ab") as log:
            self._process = self._java("kafka.Kafka", str(self._properties), output=log)
        deadline = time.monotonic() + 60
        while b"Kafka Server started" not in self.log()[self._logged :]:
            assert self._process.poll() is None, self.log()[-3000:].decode()
            assert time.monotonic() < deadline, self.log()[-3000:].decode()
            time.sleep(0.05)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Answer nobody while inside, as if the network were cut."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until all its threads have stopped
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with -9, as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self.kill()

    def log(self) -> bytes:
        """What it has said."""
        return (self.folder / "broker.log").read_bytes()

    def size(self, topic: str) -> int:
        """Bytes of a topic's records on the disk."""
        return sum(each.stat().st_size for each in self.folder.glob(f"log/{topic}-*/*.log"))

    def _format(self) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        arguments = ("format", "-t", cluster, "-c", str(self._properties), "--add-scram", user)
        with (self.folder / "format.log").open("wb") as log:
            formatting = self._java("kafka.tools.StorageTool", *arguments, output=log)
            assert formatting.wait(60) == 0, (self.folder / "format.log").read_text()

    def _java(self, *command: str, output: Any) -> subprocess.Popen[bytes]:
        self._logged = output.tell()
        return subprocess.Popen(
            ["java", *JAVA, "-cp", f"{TOOLS}/libs/*", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C"},
        )
