"""The three ports of a Triton: the same ones at every start, as far as nobody else takes them."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.node.ports import BootFailed

FIRST, LAST = 20_000, 31_999  # below what the kernel gives to outgoing connections
SLOTS = (LAST + 1 - FIRST) // 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonPorts:
    """Where one Triton listens."""

    grpc: int
    http: int
    metrics: int

    @classmethod
    def preferred(cls, folder: Path) -> Self:
        """Ports that depend on the server's folder alone."""
        digest = hashlib.blake2s(os.fsencode(folder), digest_size=4).digest()
        return cls._of_slot(int.from_bytes(digest) % SLOTS)

    def or_free(self, host: str) -> Self:
        """These, or the next ones that nobody listens on."""
        slot = (self.grpc - FIRST) // 3
        for candidate in range(slot, slot + SLOTS):
            ports = self._of_slot(candidate % SLOTS)
            if all(is_free(host, port) for port in (ports.grpc, ports.http, ports.metrics)):
                return ports
        raise BootFailed(f"no free ports from {FIRST} to {LAST}")

    @classmethod
    def _of_slot(cls, slot: int) -> Self:
        first = FIRST + slot * 3
        return cls(grpc=first, http=first + 1, metrics=first + 2)


def is_free(host: str, port: int) -> bool:
    """Whether one could listen there."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True
